/* demo_story.h - a story's state, shared by demo.c, explain.c and demo_story.c only. */
#ifndef PYPREP_CTL_DEMO_STORY_H
#define PYPREP_CTL_DEMO_STORY_H

#include "client/ctl/aside.h"
#include "client/ctl/demo.h"

#define DEMO_FIGURES 48

struct demo_figure {
	char key[48], unit[8], what[96];
	double value, python;
};

struct demo {
	const struct demo_row *row;
	const char *schema, *noun; /* "pyprep.demo/1", "demo" */
	const struct aside *aside;
	bool quick;
	bool redraws, bold;
	bool live; /* a live line stands on the terminal */
	uint64_t drawn_ns;
	struct demo_figure figures[DEMO_FIGURES];
	unsigned figure_count;
	json_t *checks, *answer;
	bool broken;
	char error[400];
	char python_version[64]; /* "": not asked yet, or none */
	bool without_python;
};

/* Tell it in a process of its own (aside.h) and print its figures: the exit status. */
int demo_tell(struct demo *demo, unsigned patience_s);

#endif
