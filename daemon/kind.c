/* kind.c - the registry of kinds, and what a run function may say; see kind.h */
#include "daemon/kind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/clock.h"

#define X(name) &kind_##name,
const struct kind *const kinds[] = { KINDS(X) };
#undef X
#define X(name) +1
const unsigned kind_count = 0 KINDS(X);
#undef X

static const char *const class_texts[] = { "cpu", "io", "command" };

const char *
kind_class_text(enum kind_class c)
{
	return c <= KIND_COMMAND ? class_texts[c] : "unknown";
}

const struct kind *
kind_by_index(unsigned index)
{
	return index < kind_count ? kinds[index] : NULL;
}

const struct kind *
kind_by_name(const char *name, unsigned *ret_index)
{
	for (unsigned i = 0; i < kind_count; i++) {
		if (strcmp(kinds[i]->name, name) == 0) {
			if (ret_index != NULL)
				*ret_index = i;
			return kinds[i];
		}
	}
	return NULL;
}

unsigned
kind_param_count(const struct kind *kind)
{
	unsigned count = 0;

	while (count < PARAMS_MAX && kind->params[count].type != PARAM_END)
		count++;
	return count;
}

/* ---- is a row whole? ---- */

static int lacks(const struct kind *kind, char *why, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int
lacks(const struct kind *kind, char *why, size_t size, const char *format, ...)
{
	va_list list;
	size_t used = (size_t)snprintf(why, size, "kind %s ",
				       kind->name != NULL ? kind->name : "without a name");

	va_start(list, format);
	if (used < size)
		vsnprintf(why + used, size - used, format, list);
	va_end(list);
	return -EINVAL;
}

static int
check_functions(const struct kind *kind, char *why, size_t size)
{
	switch (kind->class) {
	case KIND_CPU:
		if (kind->run == NULL)
			return lacks(kind, why, size, "is of class cpu and lacks run()");
		if (kind->start != NULL || kind->stop != NULL)
			return lacks(kind, why, size,
				     "is of class cpu: start() and stop() are io's");
		break;
	case KIND_IO:
		if (kind->start == NULL || kind->stop == NULL)
			return lacks(kind, why, size, "is of class io and lacks %s",
				     kind->start == NULL ? "start()" : "stop()");
		/* fall through */
	case KIND_COMMAND:
		if (kind->run != NULL || kind->item != NULL || kind->range != NULL)
			return lacks(kind, why, size,
				     "is of class %s: run(), item() and range() are cpu's",
				     kind_class_text(kind->class));
		break;
	default:
		return lacks(kind, why, size, "has no class");
	}
	if (kind->item != NULL && kind->params[0].type != PARAM_INT)
		return lacks(kind, why, size, "has item(): its first parameter must be an integer");
	if (kind->range != NULL && kind->item != NULL)
		return lacks(kind, why, size, "has both item() and range()");
	if (kind->items != NULL && kind->item == NULL)
		return lacks(kind, why, size, "has items() and lacks item()");
	return 0;
}

/* Can a job leave `param` out?  Only the kind itself knows a good default, so only it is
 * asked whether the default is one. */
static int
check_default(const struct kind *kind, const struct param *param, char *why, size_t size)
{
	struct kind alone = { .name = kind->name, .params = { *param } };
	struct args_buffer packed = { 0 };
	char text[256];

	enum job_error error = args_pack(&alone, NULL, 0, &packed, text, sizeof(text));
	args_buffer_free(&packed);
	if (error != ERR_NONE)
		return lacks(kind, why, size, "has a wrong default for %s: %s", param->name, text);
	return 0;
}

static int
check_param(const struct kind *kind, unsigned index, char *why, size_t size)
{
	const struct param *param = &kind->params[index];

	if (param->name == NULL || param->name[0] == '\0')
		return lacks(kind, why, size, "has a parameter without a name");
	if (param->help == NULL || param->help[0] == '\0')
		return lacks(kind, why, size, "lacks a help line for %s", param->name);
	if (param->type < PARAM_INT || param->type > PARAM_REAL)
		return lacks(kind, why, size, "lacks a type for %s", param->name);
	if (param->type == PARAM_ENUM && (param->choices == NULL || param->choices[0] == '\0'))
		return lacks(kind, why, size, "lacks the choices of %s", param->name);
	if ((param->type == PARAM_INT || param->type == PARAM_REAL || param->type == PARAM_TEXT ||
	     param->type == PARAM_PATH || param->type == PARAM_LIST) &&
	    param->low >= param->high)
		return lacks(kind, why, size, "lacks a range for %s", param->name);
	for (unsigned i = 0; i < index; i++)
		if (strcmp(kind->params[i].name, param->name) == 0)
			return lacks(kind, why, size, "declares %s twice", param->name);
	return param->fallback == NULL ? 0 : check_default(kind, param, why, size);
}

int
kind_check(const struct kind *kind, char *why, size_t why_size)
{
	if (kind->name == NULL || kind->name[0] == '\0')
		return lacks(kind, why, why_size, "cannot be asked for");
	if (kind->help == NULL || kind->help[0] == '\0')
		return lacks(kind, why, why_size, "lacks a help line");
	int r = check_functions(kind, why, why_size);
	if (kind->params[PARAMS_MAX].type != PARAM_END)
		return lacks(kind, why, why_size, "has more than %d parameters", PARAMS_MAX);
	for (unsigned i = 0; r == 0 && i < kind_param_count(kind); i++)
		r = check_param(kind, i, why, why_size);
	return r;
}

int
kinds_check(char *why, size_t why_size)
{
	for (unsigned i = 0; i < kind_count; i++) {
		int r = kind_check(kinds[i], why, why_size);
		if (r < 0)
			return r;
		for (unsigned j = 0; j < i; j++)
			if (strcmp(kinds[i]->name, kinds[j]->name) == 0)
				return lacks(kinds[i], why, why_size, "stands in KINDS twice");
	}
	return 0;
}

/* ---- results ---- */

/* A result is whole, or the job has failed and has none. */
static int
write_result(void *context, const char *bytes, size_t length)
{
	struct call *call = context;

	if (call->outcome.error == ERR_OOM)
		return -1;
	if (msgpack_sbuffer_write(&call->result, bytes, length) == 0)
		return 0;
	msgpack_sbuffer_clear(&call->result);
	call_no_memory(call, "no memory for the result");
	return -1;
}

msgpack_packer
call_packer(struct call *call)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, call, write_result);
	return packer;
}

void
call_result_int(struct call *call, int64_t value)
{
	msgpack_packer p = call_packer(call);

	msgpack_pack_int64(&p, value);
}

void
call_result_u128(struct call *call, unsigned __int128 value)
{
	if (value <= UINT64_MAX) {
		msgpack_packer p = call_packer(call);
		msgpack_pack_uint64(&p, (uint64_t)value);
		return;
	}
	char digits[40];
	char *at = digits + sizeof(digits);
	*--at = '\0';
	for (; value > 0; value /= 10)
		*--at = (char)('0' + (unsigned)(value % 10));
	call_result_text(call, at);
}

void
call_result_text(struct call *call, const char *text)
{
	msgpack_packer p = call_packer(call);
	size_t length = strlen(text);

	msgpack_pack_str(&p, length);
	msgpack_pack_str_body(&p, text, length);
}

static void
fail(struct call *call, enum job_cause cause, enum job_error error, const char *format,
     va_list list)
{
	int n = vsnprintf(call->message, sizeof(call->message), format, list);
	size_t length = n < 0 ? 0 : (size_t)n;

	if (length >= sizeof(call->message))
		length = sizeof(call->message) - 1;
	call->outcome.state = JOB_FAILED;
	call->outcome.cause = (uint8_t)cause;
	call->outcome.error = (uint8_t)error;
	call->outcome.message_length = (uint32_t)length;
}

void
call_fail(struct call *call, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fail(call, CAUSE_ERROR, ERR_RUN, format, list);
	va_end(list);
}

void
call_no_memory(struct call *call, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fail(call, CAUSE_OOM, ERR_OOM, format, list);
	va_end(list);
}

/* ---- callbacks of I/O kinds ---- */

void
io_enter(struct io_call *io)
{
	io->entered_ns = clock_now();
}

void
io_leave(struct io_call *io)
{
	io->oncpu_ns += clock_now() - io->entered_ns;
}

void
io_done(struct io_call *io)
{
	io_leave(io);
	io->done(io);
}
