/* print_receipt.h - one receipt in words, with figures that add up as printed. */
#ifndef PYPREP_CTL_PRINT_RECEIPT_H
#define PYPREP_CTL_PRINT_RECEIPT_H

#include <stdio.h>

#include "client/ctl/capture.h"
#include "client/ctl/print_table.h"
#include "client/pyprep.h"

/* The whole receipt, several lines.  `args` (text, may be NULL) stands after the kind. */
void receipt_print(FILE *out, const struct pyprep_receipt *receipt, const char *args);

/* Many receipts, a row each. */
void receipts_table_begin(struct table *table, bool streamed);
void receipts_table_add(struct table *table, const struct pyprep_receipt *receipt);

/* The result in one line, cut to `size`: a text as it is, anything else as JSON; "" for none. */
void result_text(const struct pyprep_receipt *receipt, char *buffer, size_t size);

/* The result whole, and a newline; nothing for none. */
void result_print(FILE *out, const struct pyprep_receipt *receipt);

/* Why a job did not succeed, in one line: "timeout", "exit 3", "run_failed: ...". */
void failure_text(const struct pyprep_receipt *receipt, char *buffer, size_t size);

/* What a command wrote, every line after a mark; at most `lines` last ones of each stream,
 * 0: all. */
void capture_print(FILE *out, const struct capture *capture, unsigned lines);

#endif
