/* test_context.c - a client's context: packed from anything a client may send, read back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/context.h"

static char why[200];

static msgpack_object
text(const char *s, size_t length)
{
	msgpack_object o = { .type = MSGPACK_OBJECT_STR };
	o.via.str.ptr = s;
	o.via.str.size = (uint32_t)length;
	return o;
}

static msgpack_object
word(const char *s)
{
	return text(s, strlen(s));
}

static msgpack_object
number(uint64_t n)
{
	msgpack_object o = { .type = MSGPACK_OBJECT_POSITIVE_INTEGER };
	o.via.u64 = n;
	return o;
}

static msgpack_object
list(msgpack_object *entries, uint32_t count)
{
	msgpack_object o = { .type = MSGPACK_OBJECT_ARRAY };
	o.via.array.ptr = entries;
	o.via.array.size = count;
	return o;
}

static int
pack(msgpack_object cwd, msgpack_object env, msgpack_object mask, unsigned char **ret,
     uint32_t *length)
{
	msgpack_object_kv pairs[] = {
		{ word("verb"), word("context") },
		{ word("cwd"), cwd },
		{ word("env"), env },
		{ word("umask"), mask },
	};
	msgpack_object map = { .type = MSGPACK_OBJECT_MAP };
	map.via.map.ptr = pairs;
	map.via.map.size = 4;
	why[0] = '\0';
	return context_pack(&map, ret, length, why, sizeof(why));
}

TestSuite(context, .timeout = 600);

Test(context, what_is_packed_is_read)
{
	msgpack_object env[] = { word("A=1"), word("EMPTY="), word("PATH=/bin") };
	unsigned char *bytes;
	uint32_t length;
	cr_assert_eq(pack(word("/tmp/x y"), list(env, 3), number(077), &bytes, &length), 0);
	struct context c;
	cr_assert_eq(context_read(bytes, length, &c), 0);
	cr_expect_eq(c.umask, 077);
	cr_expect_str_eq(c.cwd, "/tmp/x y");
	cr_expect_str_eq(c.env[0], "A=1");
	cr_expect_str_eq(c.env[1], "EMPTY=");
	cr_expect_null(c.env[3]);
	cr_expect_str_eq(context_variable(c.env, "PATH"), "/bin");
	cr_expect_str_eq(context_variable(c.env, "EMPTY"), "");
	cr_expect_null(context_variable(c.env, "PAT"));
	context_free(&c);
	free(bytes);
}

Test(context, what_is_wrong_is_refused_with_its_name)
{
	msgpack_object good[] = { word("A=1") };
	msgpack_object no_sign[] = { word("A") }, no_name[] = { word("=A") };
	msgpack_object nul[] = { text("A=\0b", 4) }, not_text[] = { number(1) };
	static char path[5000];
	memset(path, '/', sizeof(path) - 1);
	const struct {
		msgpack_object cwd, env, mask;
		const char *names;
	} rows[] = {
		{ word("tmp"), list(good, 1), number(0), "cwd" },
		{ word(""), list(good, 1), number(0), "cwd" },
		{ text("/a\0b", 4), list(good, 1), number(0), "cwd" },
		{ word(path), list(good, 1), number(0), "cwd" },
		{ number(1), list(good, 1), number(0), "cwd" },
		{ word("/"), word("A=1"), number(0), "env" },
		{ word("/"), list(no_sign, 1), number(0), "env entry 1" },
		{ word("/"), list(no_name, 1), number(0), "env entry 1" },
		{ word("/"), list(nul, 1), number(0), "env entry 1" },
		{ word("/"), list(not_text, 1), number(0), "env entry 1" },
		{ word("/"), list(good, 1), number(01000), "umask" },
		{ word("/"), list(good, 1), word("022"), "umask" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char *bytes = NULL;
		uint32_t length;
		cr_expect_eq(pack(rows[i].cwd, rows[i].env, rows[i].mask, &bytes, &length), -EINVAL,
			     "row %zu", i);
		cr_expect_not_null(strstr(why, rows[i].names), "row %zu: %s", i, why);
		cr_expect_null(bytes);
	}
}

Test(context, too_much_is_refused)
{
	static char large[CONTEXT_BYTES_MAX];
	static msgpack_object many[CONTEXT_ENV_MAX + 1];
	memset(large, 'x', sizeof(large));
	large[1] = '=';
	msgpack_object one[] = { text(large, sizeof(large)) };
	for (size_t i = 0; i <= CONTEXT_ENV_MAX; i++)
		many[i] = word("A=1");
	unsigned char *bytes;
	uint32_t length;
	cr_expect_eq(pack(word("/"), list(one, 1), number(0), &bytes, &length), -E2BIG);
	cr_expect_eq(pack(word("/"), list(many, CONTEXT_ENV_MAX + 1), number(0), &bytes, &length),
		     -EINVAL);
}

Test(context, bytes_that_are_none_are_not_read)
{
	struct context c;
	cr_expect_eq(context_read("", 0, &c), -EPROTO);
	cr_expect_eq(context_read("022", 4, &c), -EPROTO);
	cr_expect_eq(context_read("022\0/x", 5, &c), -EPROTO);
	cr_expect_eq(context_read("9\0/", 4, &c), -EPROTO);
	cr_expect_eq(context_read("022\0x", 6, &c), -EPROTO);
	cr_assert_eq(context_read("022\0/", 6, &c), 0);
	cr_expect_null(c.env[0]);
	context_free(&c);
}
