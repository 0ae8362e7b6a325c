/* config_text.c - the text of a configuration file; see config_keys.h */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config_keys.h"
#include "ipc/cleanup.h"

#define FILE_BYTES_MAX (1u << 20)

int
config_text(const char *path, char **ret, size_t *ret_length, char *why, size_t why_size)
{
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int error = errno;
		snprintf(why, why_size, "%s: cannot be read: %s", path, strerror(error));
		return -error;
	}
	if (S_ISDIR(st.st_mode)) {
		snprintf(why, why_size, "%s: is a directory; expected a configuration file", path);
		return -EISDIR;
	}
	scoped_free char *text = malloc(FILE_BYTES_MAX + 1);
	if (text == NULL) {
		snprintf(why, why_size, "%s: no memory to read it", path);
		return -ENOMEM;
	}
	size_t length = 0;
	ssize_t n;
	while ((n = read(fd, text + length, FILE_BYTES_MAX + 1 - length)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int error = errno;
			snprintf(why, why_size, "%s: cannot be read: %s", path, strerror(error));
			return -error;
		}
		length += (size_t)n;
		if (length > FILE_BYTES_MAX) {
			snprintf(why, why_size,
				 "%s: is longer than %u bytes; expected a configuration file", path,
				 FILE_BYTES_MAX);
			return -EFBIG;
		}
	}
	text[length] = '\0';
	*ret = text;
	*ret_length = length;
	text = NULL;
	return 0;
}
