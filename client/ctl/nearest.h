/* nearest.h - the name somebody probably meant. */
#ifndef PYPREP_CTL_NEAREST_H
#define PYPREP_CTL_NEAREST_H

struct nearest {
	const char *wanted;
	const char *best;
	unsigned distance;
};

void nearest_begin(struct nearest *nearest, const char *wanted);
void nearest_offer(struct nearest *nearest, const char *name);
/* NULL when nothing offered is near. */
const char *nearest_best(const struct nearest *nearest);

#endif
