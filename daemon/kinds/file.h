/* file.h - open the file that a job names; for kinds that read one. */
#ifndef PYPREP_DAEMON_KINDS_FILE_H
#define PYPREP_DAEMON_KINDS_FILE_H

#include "daemon/kind.h"

#define FILE_PATH_MAX 4095

/* Open the regular file `path` for reading.  The caller closes the descriptor; *ret_size is what
 * the file says of itself (0 in /proc).  -1: failed, and call_fail() has said why. */
int file_open(struct call *call, const char *path, uint64_t *ret_size);

#endif
