/*
 * print_json.h - receipts and msgpack values as JSON (schema pyprep.job/1).
 *
 * Integers that a double cannot hold (beyond 2^53) are printed as strings, byte strings
 * that are not UTF-8 as base64 under a name that says so.
 */
#ifndef PYPREP_CTL_PRINT_JSON_H
#define PYPREP_CTL_PRINT_JSON_H

#include <jansson.h>
#include <msgpack.h>

#include "client/ctl/capture.h"
#include "client/pyprep.h"

/* Each returns a new reference, the caller's. */
json_t *json_of_u64(uint64_t value);
json_t *json_of_i64(int64_t value);
json_t *json_of_bytes(const char *bytes, size_t length); /* text, or {"base64": ...} */
json_t *json_of_object(const msgpack_object *object);
json_t *json_of_result(const struct pyprep_receipt *receipt); /* null when there is none */

/* `capture` may be NULL. */
json_t *json_of_receipt(const struct pyprep_receipt *receipt, const struct capture *capture);

/* "exit 3", "signal 9", "timeout", ...; NULL when the job simply succeeded. */
const char *cause_text(const struct pyprep_receipt *receipt, char *buffer, size_t size);

/* Compact, one line, to stdout; takes the reference. */
void json_print_line(json_t *json);

/* A string; {"base64": ...} when the bytes are not UTF-8. */
json_t *json_of_bytes(const char *bytes, size_t length);

#endif
