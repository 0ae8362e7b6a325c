/*
 * nearest.c - the nearest of some names, for "did you mean".
 *
 * Distance is optimal string alignment (insert, delete, replace, swap of neighbours;
 * G. Navarro, "A Guided Tour to Approximate String Matching", 2001), letters without
 * regard to case.  A guess that needs more than a third of the letters changed would be
 * noise and is not made.  The beginning of a name ("conc") counts as near when nothing
 * is nearer.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "daemon/config.h"

#define NAME_MAX_LENGTH 64 /* longer ones are not names */
#define PREFIX_MIN      3

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;
	return m < c ? m : c;
}

/* Both at most NAME_MAX_LENGTH long.  Three rows of the table are enough for swaps. */
static size_t
distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][NAME_MAX_LENGTH + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		int x = tolower((unsigned char)a[i - 1]);
		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			int y = tolower((unsigned char)b[j - 1]);
			row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		size_t *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b_length];
}

const char *
nearest_name(const char *name, const char *const *names, size_t count)
{
	size_t length = strlen(name), best = 0;
	const char *ret = NULL, *beginning = NULL;

	if (length == 0 || length > NAME_MAX_LENGTH)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t other = strlen(names[i]);
		if (other > NAME_MAX_LENGTH)
			continue;
		size_t longer = length > other ? length : other;
		size_t cut = longer / 3;
		size_t d = distance(name, length, names[i], other);
		if (d <= cut && (ret == NULL || d < best)) {
			ret = names[i];
			best = d;
		}
		if (!beginning && length >= PREFIX_MIN && other > length &&
		    strncasecmp(name, names[i], length) == 0)
			beginning = names[i];
	}
	return beginning && (ret == NULL || best > 1) ? beginning : ret;
}
