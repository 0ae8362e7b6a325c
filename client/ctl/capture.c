/* capture.c - what one command wrote.  The daemon bounds it, so this need not. */
#include "client/ctl/capture.h"

#include <stdlib.h>
#include <string.h>

#include "client/ctl/report.h"

struct capture *
capture_new(void)
{
	return ctl_alloc(1, sizeof(struct capture));
}

void
capture_add(struct capture *capture, const struct pyprep_event *output)
{
	int i = output->stream == 2;
	size_t needed = capture->length[i] + output->length;

	if (needed > capture->capacity[i]) {
		capture->capacity[i] = 2 * needed;
		capture->bytes[i] = ctl_realloc(capture->bytes[i], capture->capacity[i]);
	}
	if (output->length > 0)
		memcpy(capture->bytes[i] + capture->length[i], output->bytes, output->length);
	capture->length[i] = needed;
}

void
capture_free(struct capture *capture)
{
	if (!capture)
		return;
	free(capture->bytes[0]);
	free(capture->bytes[1]);
	free(capture);
}
