/* cpython_programs.h - the files of client/ctl/python, as CMake wrote them into the program. */
#ifndef PYPREP_CTL_CPYTHON_PROGRAMS_H
#define PYPREP_CTL_CPYTHON_PROGRAMS_H

#include <stddef.h>

struct cpython_text {
	const char *topic; /* the file's name without .py */
	const unsigned char *bytes;
	size_t length;
};
extern const struct cpython_text cpython_texts[]; /* topic NULL at the end */

#endif
