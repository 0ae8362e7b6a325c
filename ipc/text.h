/* text.h - texts that people choose and others show: keys, labels, names. */
#ifndef PYPREP_IPC_TEXT_H
#define PYPREP_IPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 (RFC 3629) without control characters: safe on a terminal, in JSON and in a log line. */
bool text_is_shown(const void *text, size_t length);

#endif
