/* nearest.c - edit distance, with neighbours swapped counted as one slip. */
#include "client/ctl/nearest.h"

#include <string.h>

#define LONGEST 32 /* longer names are not compared */

void
nearest_begin(struct nearest *nearest, const char *wanted)
{
	*nearest = (struct nearest){ .wanted = wanted, .distance = LONGEST };
}

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned
distance_of(const char *a, const char *b)
{
	unsigned row[LONGEST + 1][LONGEST + 1];
	unsigned a_length = (unsigned)strlen(a), b_length = (unsigned)strlen(b);

	if (a_length > LONGEST || b_length > LONGEST)
		return LONGEST;
	for (unsigned i = 0; i <= a_length; i++)
		row[i][0] = i;
	for (unsigned j = 0; j <= b_length; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= a_length; i++) {
		for (unsigned j = 1; j <= b_length; j++) {
			unsigned change = a[i - 1] == b[j - 1] ? 0 : 1;
			row[i][j] = least(least(row[i - 1][j] + 1, row[i][j - 1] + 1),
					  row[i - 1][j - 1] + change);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[i][j] = least(row[i][j], row[i - 2][j - 2] + 1);
		}
	}
	return row[a_length][b_length];
}

void
nearest_offer(struct nearest *nearest, const char *name)
{
	unsigned distance = distance_of(nearest->wanted, name);

	if (distance < nearest->distance) {
		nearest->distance = distance;
		nearest->best = name;
	}
}

const char *
nearest_best(const struct nearest *nearest)
{
	unsigned allowed = (unsigned)strlen(nearest->wanted) / 3 + 1;
	return nearest->distance <= allowed ? nearest->best : NULL;
}
