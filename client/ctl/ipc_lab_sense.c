/* ipc_lab_sense.c - what the lab's figures say. */
#include <math.h>

#include "client/ctl/ipc_lab.h"

double
lab_value(const struct lab_cell *cell, enum lab_goal goal)
{
	if (!cell->done)
		return NAN;
	switch (goal) {
	case LAB_P50:
		return cell->p50_ns;
	case LAB_RATE:
		return 1e9 / cell->rate;
	case LAB_CPU:
		return cell->cpu_ns;
	case LAB_GOALS:
		break;
	}
	return NAN;
}

/* Links are compared over one lane, lanes over one link. */
static bool
is_link(unsigned way)
{
	return lab_ways[way].lane[0] == 's';
}

int
lab_best(const struct lab *lab, unsigned size, enum lab_goal goal, bool links_only,
	 double *ret_next)
{
	double best = INFINITY, next = INFINITY;
	int which = -1;

	for (unsigned way = 0; way < LAB_WAYS; way++) {
		double value = lab_value(&lab->cells[way][size], goal);
		if (isnan(value) || (links_only && !is_link(way)))
			continue;
		if (value < best) {
			next = best;
			best = value;
			which = (int)way;
		} else if (value < next) {
			next = value;
		}
	}
	*ret_next = isinf(next) ? NAN : next / best;
	return which;
}

/* log of how many times slower b is than a, where it is more than noise; else 0. */
static double
lead(const struct lab *lab, unsigned a, unsigned b, unsigned size, double least)
{
	const struct lab_cell *x = &lab->cells[a][size], *y = &lab->cells[b][size];

	if (!x->done || !y->done || x->by_name || y->by_name)
		return 0;
	double ratio = log(y->p50_ns / x->p50_ns);
	return fabs(ratio) < log(least) ? 0 : ratio;
}

static unsigned
cross(const struct lab *lab, unsigned a, unsigned b, double least, struct lab_crossing *ret,
      unsigned room)
{
	unsigned count = 0;
	double before = 0, at = 0;

	for (unsigned size = 0; size < lab->size_count; size++) {
		double now = lead(lab, a, b, size, least), x = log((double)lab->sizes[size]);
		if (now == 0)
			continue;
		if (before * now < 0 && count < room) {
			double middle = at + (x - at) * before / (before - now);
			ret[count++] = (struct lab_crossing){
				.before = (int)(before > 0 ? a : b),
				.after = (int)(before > 0 ? b : a),
				.bytes = exp(middle),
			};
		}
		before = now;
		at = x;
	}
	return count;
}

unsigned
lab_crossings(const struct lab *lab, double least, struct lab_crossing *ret)
{
	unsigned count = 0;

	for (unsigned a = 0; a < LAB_WAYS; a++)
		for (unsigned b = a + 1; b < LAB_WAYS; b++)
			if (is_link(a) == is_link(b) || a == 0)
				count +=
					cross(lab, a, b, least, ret + count, LAB_CROSSINGS - count);
	return count;
}
