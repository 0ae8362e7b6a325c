/* test_policy.c - policies: what is taken, what is refused with which words, that writing and
 * reading are each other's inverse, and who gets another attempt after how long. */
#include <criterion/criterion.h>

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/policy.h"
#include "ipc/clock.h"

#define NOW UINT64_C(1700000000000000000)

static char why[512];
static struct policy *policy;

static void
teardown(void)
{
	policy_free(policy);
	policy = NULL;
}

TestSuite(policy, .fini = teardown, .timeout = 600);

/* ---- maps from text ---- */

/* A map as text: {'name':[1,'x',true]}.  Lists and maps count their commas; test input only, so
 * nothing is checked. */
static const char *
pack_one(msgpack_packer *k, const char *at)
{
	if (*at == '{' || *at == '[') {
		unsigned depth = 0, count = at[1] != '}' && at[1] != ']';
		bool quoted = false;
		for (const char *c = at; depth > 0 || c == at; c++) {
			if (*c == '\'')
				quoted = !quoted;
			else if (!quoted && (*c == '{' || *c == '['))
				depth++;
			else if (!quoted && (*c == '}' || *c == ']'))
				depth--;
			else if (!quoted && *c == ',' && depth == 1)
				count++;
		}
		if (*at == '{')
			msgpack_pack_map(k, count);
		else
			msgpack_pack_array(k, count);
		for (at++; *at != '}' && *at != ']'; at += *at == ',' || *at == ':')
			at = pack_one(k, at);
		return at + 1;
	}
	if (*at == '\'') {
		size_t length = strcspn(at + 1, "'");
		msgpack_pack_str(k, length);
		msgpack_pack_str_body(k, at + 1, length);
		return at + length + 2;
	}
	if (strncmp(at, "true", 4) == 0) {
		msgpack_pack_true(k);
		return at + 4;
	}
	if (*at == 'f') { /* 1.5, written f */
		msgpack_pack_double(k, 1.5);
		return at + 1;
	}
	char *end;
	if (*at == '-')
		msgpack_pack_int64(k, strtoll(at, &end, 10));
	else
		msgpack_pack_uint64(k, strtoull(at, &end, 10));
	return end;
}

/* Read bytes from a copy of their very size, so that a read past the end is seen. */
static enum job_error
read_bytes(const void *bytes, size_t length)
{
	unsigned char *copy = malloc(length > 0 ? length : 1);

	memcpy(copy, bytes, length);
	policy_free(policy);
	policy = NULL;
	why[0] = '\0';
	enum job_error error = policy_read(copy, (uint32_t)length, NOW, &policy, why, sizeof(why));
	free(copy);
	return error;
}

static enum job_error
read_text(const char *text)
{
	msgpack_sbuffer map;
	msgpack_packer pack;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pack, &map, msgpack_sbuffer_write);
	pack_one(&pack, text);
	enum job_error error = read_bytes(map.data, map.size);
	msgpack_sbuffer_destroy(&map);
	return error;
}

static void
must_read(const char *text)
{
	enum job_error error = read_text(text);

	cr_assert_eq(error, ERR_NONE, "%s: %s", text, why);
}

/* ---- what is refused ---- */

static const struct refusal {
	const char *map;
	enum job_error error;
	const char *why;
} refusals[] = {
	{ "[]", ERR_BAD_REQUEST, "the policies are not a msgpack map" },
	{ "{1:1}", ERR_BAD_REQUEST, "a policy's name must be text, got 1" },
	{ "{'retrys':1}", ERR_UNKNOWN_PARAM,
	  "there is no policy \"retrys\"; did you mean \"retries\"?" },
	{ "{'token':'x'}", ERR_UNKNOWN_PARAM,
	  "there is no policy \"token\"; there are retries, backoff, jitter, retry_on, delay, at, "
	  "after, held, key, if_exists, cache, keep, rate, need, memory, nice, labels, crash_limit" },
	{ "{'retries':1,'retries':1}", ERR_BAD_REQUEST, "retries is given twice" },
	{ "{'retries':10001}", ERR_OUT_OF_RANGE,
	  "retries must be an integer between 0 and 10000, got 10001" },
	{ "{'retries':-1}", ERR_OUT_OF_RANGE,
	  "retries must be an integer between 0 and 10000, got -1" },
	{ "{'retries':18446744073709551615}", ERR_OUT_OF_RANGE,
	  "retries must be an integer between 0 and 10000, got 18446744073709551615" },
	{ "{'retries':'3'}", ERR_BAD_TYPE,
	  "retries must be an integer between 0 and 10000, got \"3\"" },
	{ "{'retries':f}", ERR_BAD_TYPE,
	  "retries must be an integer between 0 and 10000, got the number 1.5" },
	{ "{'backoff':1}", ERR_BAD_TYPE, NULL },
	{ "{'backoff':['exp',1]}", ERR_BAD_TYPE, NULL },
	{ "{'backoff':['slow',1,2]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'backoff':['exp',-1,2]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'backoff':['exp',0,2]}", ERR_OUT_OF_RANGE,
	  "backoff: twice 0 stays 0; let \"exp\" begin above 0, or say \"const\"" },
	{ "{'backoff':['exp',5,2]}", ERR_OUT_OF_RANGE,
	  "backoff: the first wait, 5 ns, is longer than the longest, 2 ns" },
	{ "{'backoff':['exp',1,999999999999999999]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'jitter':'half'}", ERR_OUT_OF_RANGE,
	  "jitter must be \"none\" or \"full\", got \"half\"" },
	{ "{'jitter':true}", ERR_BAD_TYPE, "jitter must be \"none\" or \"full\", got true" },
	{ "{'retry_on':'exit'}", ERR_BAD_TYPE, NULL },
	{ "{'retry_on':[]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['exit:0']}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['exit:256']}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['exit:']}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['exit:1x']}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['exit:0001']}", ERR_OUT_OF_RANGE, NULL },
	{ "{'retry_on':['cancelled']}", ERR_OUT_OF_RANGE,
	  "retry_on must be a list of \"exit:N\" (1 to 255), \"exit\", \"signal\", \"timeout\", "
	  "\"worker_died\", \"oom\", \"error\", got \"cancelled\"" },
	{ "{'retry_on':[7]}", ERR_BAD_TYPE, NULL },
	{ "{'retry_on':['exit:1','exit:2','exit:3','exit:4','exit:5','exit:6','exit:7','exit:8',"
	  "'exit:9','exit:10','exit:11','exit:12','exit:13','exit:14','exit:15','exit:16',"
	  "'exit:17']}",
	  ERR_OUT_OF_RANGE, "retry_on names more than 16 exit statuses; \"exit\" means all" },
	{ "{'delay':-1}", ERR_OUT_OF_RANGE,
	  "delay must be nanoseconds, at most ten years, got -1" },
	{ "{'delay':1,'at':1}", ERR_BAD_REQUEST,
	  "delay and at both say when it starts: give one of them" },
	{ "{'at':1,'delay':0}", ERR_BAD_REQUEST,
	  "delay and at both say when it starts: give one of them" },
	{ "{'at':'noon'}", ERR_BAD_TYPE, NULL },
	{ "{'after':7}", ERR_BAD_TYPE,
	  "after must be a list of 1 to 256 [job's id, \"ok\" or \"any\"], got 7" },
	{ "{'after':[]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'after':[7]}", ERR_BAD_TYPE, NULL },
	{ "{'after':[[7,'no']]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'after':[[0,'ok']]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'after':[[7,'ok'],[8,'ok'],[7,'any']]}", ERR_BAD_REQUEST, "after names job 7 twice" },
	{ "{'held':1}", ERR_BAD_TYPE, "held must be true or false, got 1" },
	{ "{'key':''}", ERR_OUT_OF_RANGE, NULL },
	{ "{'key':'a\nb'}", ERR_OUT_OF_RANGE,
	  "key must be UTF-8 text of 1 to 127 bytes without control characters, got \"a?b\"" },
	{ "{'key':'\xff'}", ERR_OUT_OF_RANGE, NULL },
	{ "{'key':'\xc0\x80'}", ERR_OUT_OF_RANGE, NULL },     /* overlong */
	{ "{'key':'\xed\xa0\x80'}", ERR_OUT_OF_RANGE, NULL }, /* a surrogate */
	{ "{'key':'\xe2\x82'}", ERR_OUT_OF_RANGE, NULL },     /* ends inside */
	{ "{'key':'\xf4\x90\x80\x80'}", ERR_OUT_OF_RANGE, NULL },
	{ "{'key':7}", ERR_BAD_TYPE, NULL },
	{ "{'if_exists':'return'}", ERR_BAD_REQUEST,
	  "if_exists says what happens when the key is there: give a key, too" },
	{ "{'key':'k','if_exists':'ignore'}", ERR_OUT_OF_RANGE,
	  "if_exists must be \"reject\", \"return\" or \"replace\", got \"ignore\"" },
	{ "{'cache':0}", ERR_OUT_OF_RANGE, NULL },
	{ "{'keep':0}", ERR_OUT_OF_RANGE, NULL },
	{ "{'rate':[['fib',5,1000000000]]}", ERR_OUT_OF_RANGE,
	  "rate: a group is \"kind:NAME\" or \"key:NAME\", got \"fib\"" },
	{ "{'rate':[['kind:',5,1000000000]]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'rate':[['kind:fib',0,1000000000]]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'rate':[['kind:fib',5,999999]]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'rate':[['kind:fib',5]]}", ERR_BAD_TYPE, NULL },
	{ "{'need':[['gpu',0]]}", ERR_OUT_OF_RANGE, NULL },
	{ "{'need':[['gpu',1],['gpu',2]]}", ERR_BAD_REQUEST, "need names \"gpu\" twice" },
	{ "{'need':{'gpu':1}}", ERR_BAD_TYPE, NULL },
	{ "{'memory':1048575}", ERR_OUT_OF_RANGE,
	  "memory must be a number of bytes between 1 MiB and 64 TiB, got 1048575" },
	{ "{'nice':-1}", ERR_OUT_OF_RANGE, NULL },
	{ "{'nice':20}", ERR_OUT_OF_RANGE, "nice must be an integer between 0 and 19, got 20" },
	{ "{'labels':[['a','1'],['a','2']]}", ERR_BAD_REQUEST, "labels names \"a\" twice" },
	{ "{'labels':[['a=b','1']]}", ERR_OUT_OF_RANGE,
	  "labels: a name has no \"=\", got \"a=b\"" },
	{ "{'labels':[['a',1]]}", ERR_BAD_TYPE, NULL },
	{ "{'crash_limit':0}", ERR_OUT_OF_RANGE, NULL },
	{ "{'crash_limit':1001}", ERR_OUT_OF_RANGE, NULL },
};

Test(policy, bad_maps_are_refused_with_a_sentence)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *f = &refusals[i];
		enum job_error error = read_text(f->map);
		cr_assert_eq(error, f->error, "%s: got %s, \"%s\"", f->map, job_error_text(error),
			     why);
		cr_assert_null(policy, "%s", f->map);
		cr_assert(strlen(why) > 10, "%s: no sentence", f->map);
		if (f->why != NULL)
			cr_assert_str_eq(why, f->why, "%s: got \"%s\"", f->map, why);
	}
}

Test(policy, bytes_that_end_early_or_go_on_are_refused)
{
	static const struct {
		const char *bytes;
		size_t length;
		const char *why;
	} rows[] = {
		{ "", 0, "the policies are not a msgpack map" },
		{ "\xdf\xff\xff\xff\xff", 5, "the policies are not a msgpack map" },
		{ "\x81\xa4nice", 6, "the policies end inside nice" },
		{ "\x81\xa5nice", 6, "the policies end inside a name" },
		{ "\x81\xa4nice\x01\x02", 8, "1 bytes follow the map of policies" },
		{ "\x81\xa5"
		  "after\x91\x92\x01",
		  9, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(read_bytes(rows[i].bytes, rows[i].length), ERR_BAD_REQUEST);
		if (rows[i].why != NULL)
			cr_assert_str_eq(why, rows[i].why, "%zu: got \"%s\"", i, why);
	}
	static unsigned char large[POLICY_BYTES_MAX + 1] = { 0x80 };
	cr_assert_eq(read_bytes(large, sizeof(large)), ERR_TOO_LARGE);
	cr_assert_str_eq(why, "the policies take 8193 bytes, at most 8192 are taken");
}

/* ---- what is taken ---- */

Test(policy, an_empty_map_is_plain)
{
	must_read("{}");
	cr_assert(policy_is_plain(policy));
	cr_assert_eq(policy->retries, 0u);
	cr_assert_eq(policy->retry_on, POLICY_RETRY_ALL);
	cr_assert_eq(policy->crash_limit, POLICY_CRASHES);
	cr_assert_str_empty(policy->key);
	/* how to retry, for a job that is not retried */
	must_read("{'jitter':'none','retry_on':['exit']}");
	cr_assert(policy_is_plain(policy));
}

Test(policy, each_key_alone_is_not_plain)
{
	static const char *const maps[] = {
		"{'retries':1}",
		"{'delay':1}",
		"{'at':1}",
		"{'after':[[1,'ok']]}",
		"{'held':true}",
		"{'key':'k'}",
		"{'cache':1}",
		"{'keep':1}",
		"{'rate':[['kind:a',1,1000000]]}",
		"{'need':[['gpu',1]]}",
		"{'memory':1048576}",
		"{'nice':1}",
		"{'labels':[['a','']]}",
		"{'crash_limit':1}",
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		must_read(maps[i]);
		cr_assert(!policy_is_plain(policy), "%s", maps[i]);
	}
}

Test(policy, everything_is_read)
{
	must_read("{'retries':5,'backoff':['const',2000,2000],'jitter':'full',"
		  "'retry_on':['exit:7','exit:75','exit:7','signal','oom'],'delay':5,"
		  "'after':[[7,'ok'],[8,'any']],'held':true,'key':'nightly','if_exists':'replace',"
		  "'cache':60,'keep':70,'rate':[['kind:fetch',5,1000000000],['key:api',9,2000000000]],"
		  "'need':[['gpu',2],['licence',1]],'memory':1048576,'nice':19,"
		  "'labels':[['team','blue'],['run','']],'crash_limit':1}");
	const struct policy *p = policy;
	cr_assert_eq(p->retries, 5u);
	cr_assert_eq(p->backoff, BACKOFF_CONST);
	cr_assert_eq(p->backoff_first_ns, 2000u);
	cr_assert_eq(p->backoff_most_ns, 2000u);
	cr_assert(p->jitter && p->held);
	cr_assert_eq(p->retry_on, POLICY_RETRY_SIGNAL | POLICY_RETRY_OOM);
	cr_assert_eq(p->exit_count, 2u);
	cr_assert(p->exits[0] == 7 && p->exits[1] == 75);
	cr_assert_eq(p->at_ns, NOW + 5);
	cr_assert_eq(p->parent_count, 2u);
	cr_assert(p->parents[1].id == 8 && p->parents[1].mode == AFTER_ANY);
	cr_assert_str_eq(p->key, "nightly");
	cr_assert_eq(p->if_exists, EXISTS_REPLACE);
	cr_assert_eq(p->cache_ns, 60u);
	cr_assert_eq(p->keep_ns, 70u);
	cr_assert_eq(p->rate_count, 2u);
	cr_assert_str_eq(p->rates[1].group, "key:api");
	cr_assert(p->rates[1].count == 9 && p->rates[1].window_ns == 2 * NS_PER_S);
	cr_assert_eq(p->need_count, 2u);
	cr_assert_str_eq(p->needs[0].name, "gpu");
	cr_assert_eq(p->needs[0].count, 2u);
	cr_assert_eq(p->memory_bytes, 1048576u);
	cr_assert_eq(p->nice, 19);
	cr_assert_eq(p->label_count, 2u);
	cr_assert_str_eq(p->labels[0].value, "blue");
	cr_assert_str_eq(p->labels[1].name, "run");
	cr_assert_str_empty(p->labels[1].value);
	cr_assert_eq(p->crash_limit, 1u);
}

Test(policy, exponential_waits_jitter_unless_told_and_constant_ones_do_not)
{
	must_read("{'retries':1}");
	cr_assert(policy->backoff == BACKOFF_EXP && policy->jitter);
	cr_assert(policy->backoff_first_ns == NS_PER_S &&
		  policy->backoff_most_ns == 300 * NS_PER_S);
	must_read("{'retries':1,'backoff':['const',5,5]}");
	cr_assert(!policy->jitter);
	must_read("{'retries':1,'jitter':'none','backoff':['exp',5,5]}");
	cr_assert(!policy->jitter);
}

Test(policy, a_delay_never_overflows)
{
	struct policy *p = NULL;

	/* {'delay': 5}, at the end of time */
	cr_assert_eq(policy_read("\x81\xa5"
				 "delay\x05",
				 8, UINT64_MAX - 2, &p, why, sizeof(why)),
		     ERR_NONE);
	cr_assert_eq(p->at_ns, (uint64_t)INT64_MAX);
	policy_free(p);
}

/* ---- random ones ---- */

static uint64_t random_state;

static uint64_t
random_next(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t
random_from(uint64_t low, uint64_t high)
{
	return low + random_next() % (high - low + 1);
}

static bool
coin(void)
{
	return random_next() >> 63;
}

struct random_policy {
	struct policy p;
	struct policy_parent parents[POLICY_PARENTS];
	struct policy_rate rates[POLICY_LIST_MAX];
	struct policy_need needs[POLICY_LIST_MAX];
	struct policy_label labels[POLICY_LIST_MAX];
	char names[POLICY_LIST_MAX][POLICY_NAME_MAX + 1];
	char values[POLICY_LIST_MAX][POLICY_TEXT_MAX + 1];
	char key[STORE_KEY_MAX + 1];
};

static const char *
random_name(char *text, unsigned number, size_t most)
{
	size_t length = (size_t)snprintf(text, most + 1, "%u", number), more = random_next() % most;

	while (length < more)
		text[length++] = (char)random_from('!', '~' - 1);
	text[length] = '\0';
	for (size_t i = 0; i < length; i++)
		if (text[i] == '=')
			text[i] = '-';
	return text;
}

static void
random_retries(struct policy *p)
{
	p->retries = (uint32_t)random_from(1, POLICY_RETRIES_MAX);
	p->backoff = coin() ? BACKOFF_EXP : BACKOFF_CONST;
	p->backoff_first_ns = random_from(1, POLICY_WAIT_MAX >> random_next() % 58);
	p->backoff_most_ns = random_from(p->backoff_first_ns, POLICY_WAIT_MAX);
	p->jitter = coin();
	p->exit_count = (unsigned)random_from(0, POLICY_LIST_MAX);
	for (unsigned i = 0; i < p->exit_count; i++)
		p->exits[i] = (uint8_t)(i * 16 + random_from(1, 15));
	p->retry_on = (uint32_t)random_from(p->exit_count > 0 ? 0 : 1, POLICY_RETRY_ALL);
}

static void
random_lists(struct random_policy *r)
{
	struct policy *p = &r->p;
	char name[POLICY_NAME_MAX + 1];

	p->parent_count = coin() ? 0 : (unsigned)random_from(1, POLICY_PARENTS);
	for (unsigned i = 0; i < p->parent_count; i++)
		p->parents[i] = (struct policy_parent){ 1000 * (uint64_t)i + random_from(1, 999),
							coin() ? AFTER_OK : AFTER_ANY };
	p->rate_count = coin() ? 0 : (unsigned)random_from(1, POLICY_LIST_MAX);
	for (unsigned i = 0; i < p->rate_count; i++) {
		snprintf(p->rates[i].group, sizeof(p->rates[i].group), "%s:%s",
			 coin() ? "kind" : "key", random_name(name, i, 50));
		p->rates[i].count = (uint32_t)random_from(1, 1000000000);
		p->rates[i].window_ns = random_from(NS_PER_MS, POLICY_WAIT_MAX);
	}
	p->need_count = coin() ? 0 : (unsigned)random_from(1, POLICY_LIST_MAX);
	for (unsigned i = 0; i < p->need_count; i++) {
		random_name(p->needs[i].name, i, POLICY_NAME_MAX);
		p->needs[i].count = random_from(1, 1000000000);
	}
	p->label_count = coin() ? 0 : (unsigned)random_from(1, POLICY_LIST_MAX);
	for (unsigned i = 0; i < p->label_count; i++)
		p->labels[i] = (struct policy_label){
			random_name(r->names[i], i, POLICY_NAME_MAX),
			coin() ? "" : random_name(r->values[i], i, POLICY_TEXT_MAX),
		};
}

static void
random_policy(struct random_policy *r)
{
	struct policy *p = &r->p;

	memset(r, 0, sizeof(*r));
	*p = (struct policy){
		.retry_on = POLICY_RETRY_ALL,
		.backoff = BACKOFF_EXP,
		.backoff_first_ns = NS_PER_S,
		.backoff_most_ns = 300 * NS_PER_S,
		.jitter = true,
		.held = coin(),
		.at_ns = coin() ? 0 : random_from(1, INT64_MAX),
		.key = r->key,
		.cache_ns = coin() ? 0 : random_from(1, POLICY_WAIT_MAX),
		.keep_ns = coin() ? 0 : random_from(1, POLICY_WAIT_MAX),
		.memory_bytes = coin() ? 0 : random_from(1u << 20, UINT64_C(1) << 46),
		.nice = (int)random_from(0, 19),
		.crash_limit = (uint32_t)random_from(1, 1000),
		.parents = r->parents,
		.rates = r->rates,
		.needs = r->needs,
		.labels = r->labels,
	};
	if (coin())
		random_retries(p);
	if (coin()) {
		random_name(r->key, 1, STORE_KEY_MAX);
		p->if_exists = (enum policy_exists)random_from(0, 2);
	}
	random_lists(r);
}

static void
assert_lists_equal(const struct policy *a, const struct policy *b)
{
	cr_assert_eq(a->parent_count, b->parent_count);
	for (unsigned i = 0; i < a->parent_count; i++)
		cr_assert(a->parents[i].id == b->parents[i].id &&
			  a->parents[i].mode == b->parents[i].mode);
	cr_assert_eq(a->rate_count, b->rate_count);
	for (unsigned i = 0; i < a->rate_count; i++) {
		cr_assert_str_eq(a->rates[i].group, b->rates[i].group);
		cr_assert(a->rates[i].count == b->rates[i].count &&
			  a->rates[i].window_ns == b->rates[i].window_ns);
	}
	cr_assert_eq(a->need_count, b->need_count);
	for (unsigned i = 0; i < a->need_count; i++) {
		cr_assert_str_eq(a->needs[i].name, b->needs[i].name);
		cr_assert_eq(a->needs[i].count, b->needs[i].count);
	}
	cr_assert_eq(a->label_count, b->label_count);
	for (unsigned i = 0; i < a->label_count; i++) {
		cr_assert_str_eq(a->labels[i].name, b->labels[i].name);
		cr_assert_str_eq(a->labels[i].value, b->labels[i].value);
	}
}

static void
assert_equal(const struct policy *a, const struct policy *b)
{
	cr_assert_eq(a->retries, b->retries);
	cr_assert_eq(a->retry_on, b->retry_on);
	cr_assert_eq(a->exit_count, b->exit_count);
	cr_assert_arr_eq(a->exits, b->exits, a->exit_count);
	cr_assert_eq(a->backoff, b->backoff);
	cr_assert_eq(a->backoff_first_ns, b->backoff_first_ns);
	cr_assert_eq(a->backoff_most_ns, b->backoff_most_ns);
	cr_assert_eq(a->jitter, b->jitter);
	cr_assert_eq(a->held, b->held);
	cr_assert_eq(a->if_exists, b->if_exists);
	cr_assert_eq(a->at_ns, b->at_ns);
	cr_assert_str_eq(a->key, b->key);
	cr_assert_eq(a->cache_ns, b->cache_ns);
	cr_assert_eq(a->keep_ns, b->keep_ns);
	cr_assert_eq(a->memory_bytes, b->memory_bytes);
	cr_assert_eq(a->nice, b->nice);
	cr_assert_eq(a->crash_limit, b->crash_limit);
	assert_lists_equal(a, b);
}

Test(policy, what_is_written_reads_back_the_same)
{
	static struct random_policy r;

	for (unsigned round = 1; round <= 3000; round++) {
		void *map;
		uint32_t length;
		random_state = round;
		random_policy(&r);
		cr_assert_eq(policy_write(&r.p, &map, &length), 0);
		if (length <= POLICY_BYTES_MAX) {
			cr_assert_eq(read_bytes(map, length), ERR_NONE, "round %u: %s", round, why);
			assert_equal(&r.p, policy);
			cr_assert_eq(policy_is_plain(&r.p), policy_is_plain(policy));
		} else {
			cr_assert_eq(read_bytes(map, length), ERR_TOO_LARGE);
		}
		free(map);
	}
}

Test(policy, spoiled_maps_do_no_harm)
{
	static struct random_policy r;
	unsigned taken = 0, refused = 0;

	for (unsigned round = 1; round <= 3000; round++) {
		void *map;
		uint32_t length;
		random_state = 77000 + round;
		random_policy(&r);
		cr_assert_eq(policy_write(&r.p, &map, &length), 0);
		for (unsigned i = 0; i < 1 + round % 3; i++)
			((unsigned char *)map)[random_next() % length] =
				(unsigned char)random_next();
		if (coin())
			length = (uint32_t)random_from(0, length);
		if (read_bytes(map, length) == ERR_NONE) {
			taken++;
		} else {
			refused++;
			cr_assert(policy == NULL && why[0] != '\0');
		}
		free(map);
	}
	cr_assert(taken > 0 && refused > 0);
}

/* ---- another attempt ---- */

static struct outcome
ended(enum job_state state, enum job_cause cause, int value)
{
	return (struct outcome){ .state = (uint8_t)state,
				 .cause = (uint8_t)cause,
				 .cause_value = value };
}

static bool
retried(unsigned attempt, enum job_state state, enum job_cause cause, int value)
{
	struct outcome outcome = ended(state, cause, value);
	uint64_t wait_ns;

	return policy_retries(policy, attempt, &outcome, 0, &wait_ns);
}

Test(policy, each_cause_is_retried_only_when_asked_for)
{
	static const struct {
		const char *word;
		enum job_state state;
		enum job_cause cause;
		int value;
	} ends[] = {
		{ "exit", JOB_FAILED, CAUSE_EXIT, 7 },
		{ "signal", JOB_FAILED, CAUSE_SIGNAL, 11 },
		{ "timeout", JOB_TIMED_OUT, CAUSE_TIMEOUT, 0 },
		{ "worker_died", JOB_FAILED, CAUSE_WORKER_DIED, 9 },
		{ "oom", JOB_FAILED, CAUSE_OOM, 9 },
		{ "error", JOB_FAILED, CAUSE_ERROR, 0 },
	};
	const size_t count = sizeof(ends) / sizeof(ends[0]);

	for (size_t i = 0; i < count; i++) {
		char map[64];
		snprintf(map, sizeof(map), "{'retries':1,'retry_on':['%s']}", ends[i].word);
		must_read(map);
		for (size_t j = 0; j < count; j++)
			cr_assert_eq(retried(1, ends[j].state, ends[j].cause, ends[j].value),
				     i == j, "retry_on %s, ended by %s", ends[i].word,
				     ends[j].word);
	}
	must_read("{'retries':1}");
	for (size_t j = 0; j < count; j++)
		cr_assert(retried(1, ends[j].state, ends[j].cause, ends[j].value), "%s",
			  ends[j].word);
}

Test(policy, only_the_named_exit_statuses)
{
	must_read("{'retries':1,'retry_on':['exit:7','exit:255']}");
	for (int status = 1; status < 256; status++)
		cr_assert_eq(retried(1, JOB_FAILED, CAUSE_EXIT, status),
			     status == 7 || status == 255, "%d", status);
	cr_assert(!retried(1, JOB_FAILED, CAUSE_SIGNAL, 7));
}

Test(policy, some_ends_are_final_whatever_was_asked)
{
	must_read("{'retries':10000}");
	cr_assert(!retried(1, JOB_SUCCEEDED, CAUSE_EXIT, 0));
	cr_assert(!retried(1, JOB_SUCCEEDED, CAUSE_NONE, 0));
	cr_assert(!retried(1, JOB_CANCELLED, CAUSE_CANCELLED, 0));
	cr_assert(!retried(1, JOB_REFUSED, CAUSE_REFUSED, 0));
	cr_assert(!retried(1, JOB_FAILED, CAUSE_DEPENDENCY, 0));
	cr_assert(!retried(1, JOB_FAILED, CAUSE_BROKER_LOST, 0));
	cr_assert(!retried(1, JOB_DEAD, CAUSE_WORKER_DIED, 9));
}

Test(policy, as_many_attempts_as_asked_for)
{
	must_read("{'retries':3}");
	for (unsigned attempt = 1; attempt <= 10; attempt++)
		cr_assert_eq(retried(attempt, JOB_FAILED, CAUSE_ERROR, 0), attempt <= 3);
	must_read("{}");
	cr_assert(!retried(1, JOB_FAILED, CAUSE_ERROR, 0));
}

static uint64_t
wait_of(unsigned attempt, uint64_t random)
{
	struct outcome outcome = ended(JOB_FAILED, CAUSE_ERROR, 0);
	uint64_t wait_ns = UINT64_MAX;

	cr_assert(policy_retries(policy, attempt, &outcome, random, &wait_ns));
	return wait_ns;
}

Test(policy, waits_double_up_to_the_longest)
{
	must_read("{'retries':10000,'backoff':['exp',1000,300000],'jitter':'none'}");
	static const uint64_t waits[] = { 1000,  2000,   4000,   8000,   16000, 32000,
					  64000, 128000, 256000, 300000, 300000 };
	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
		cr_assert_eq(wait_of(i + 1, UINT64_MAX), waits[i], "attempt %u", i + 1);
	cr_assert_eq(wait_of(10000, 0), 300000u);
	must_read("{'retries':10000,'backoff':['const',7000,7000]}");
	cr_assert_eq(wait_of(1, 0), 7000u);
	cr_assert_eq(wait_of(10000, 0), 7000u);
	must_read("{'retries':2,'backoff':['const',0,0]}");
	cr_assert_eq(wait_of(2, 0), 0u);
}

/* Ten years is the longest wait there can be: twice that must not come out small. */
Test(policy, the_largest_waits_do_not_overflow)
{
	char map[128];

	for (uint64_t first = 1; first <= POLICY_WAIT_MAX; first = first * 3 + 1) {
		uint64_t last = 0;
		snprintf(map, sizeof(map),
			 "{'retries':10000,'backoff':['exp',%llu,%llu],'jitter':'none'}",
			 (unsigned long long)first, (unsigned long long)POLICY_WAIT_MAX);
		must_read(map);
		for (unsigned attempt = 1; attempt < 200; attempt++) {
			uint64_t wait_ns = wait_of(attempt, random_next());
			cr_assert(wait_ns >= last && wait_ns <= POLICY_WAIT_MAX &&
				  wait_ns >= first);
			last = wait_ns;
		}
		cr_assert_eq(last, POLICY_WAIT_MAX);
	}
}

Test(policy, full_jitter_is_spread_evenly_from_nothing_to_the_wait)
{
	enum { PARTS = 16, TRIES = 16000 };
	unsigned seen[PARTS] = { 0 };

	must_read("{'retries':5,'backoff':['exp',16000,64000],'jitter':'full'}");
	cr_assert_eq(wait_of(1, 0), 0u);
	cr_assert_eq(wait_of(1, UINT64_MAX), 16000u);
	cr_assert_eq(wait_of(3, UINT64_MAX), 64000u);
	cr_assert_eq(wait_of(5, UINT64_MAX), 64000u);
	random_state = 4711; /* the same numbers in every run */
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t wait_ns = wait_of(1, random_next());
		seen[wait_ns * PARTS / 16001]++;
	}
	for (unsigned i = 0; i < PARTS; i++) /* 1000 each, give or take 5 standard deviations */
		cr_assert(seen[i] > 840 && seen[i] < 1160, "part %u: %u", i, seen[i]);
}
