/*
 * array_each.h - the loops of array_ops.c, for one type of element.
 *
 * Included once per type, with T the type, F(name) a name of its own, and one of
 * EACH_REAL, EACH_WIDE (64-bit integers) or neither.  Plain loops, for the compiler to make
 * vectors of.
 */

static void
F(fill)(T *at, uint64_t count, T value)
{
	for (uint64_t i = 0; i < count; i++)
		at[i] = value;
}

#ifdef EACH_REAL

static uint64_t
F(scale)(T *at, uint64_t count, double factor)
{
	for (uint64_t i = 0; i < count; i++)
		at[i] = (T)((double)at[i] * factor);
	return 0;
}

static void
F(random)(T *at, uint64_t first, uint64_t count, uint64_t seed)
{
	const int bits = sizeof(T) == 4 ? 24 : 53;
	const double step = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;

	for (uint64_t i = 0; i < count; i++)
		at[i] = (T)((double)(array_random_bits(seed, first + i) >> (64 - bits)) * step);
}

/* Pairwise, 8 sums side by side: one vector register or four, the result is the same. */
static double
F(pairwise)(const T *a, const T *b, uint64_t count)
{
	if (count > 128) {
		uint64_t half = count / 2 / 8 * 8;
		return F(pairwise)(a, b, half) +
		       F(pairwise)(a + half, b == NULL ? NULL : b + half, count - half);
	}
	double sum[8] = { 0 };
	uint64_t i = 0;
	if (b == NULL) {
		for (; i + 8 <= count; i += 8)
			for (unsigned j = 0; j < 8; j++)
				sum[j] += (double)a[i + j];
	} else {
		for (; i + 8 <= count; i += 8)
			for (unsigned j = 0; j < 8; j++)
				sum[j] += (double)a[i + j] * (double)b[i + j];
	}
	double rest = 0;
	for (; i < count; i++)
		rest += b == NULL ? (double)a[i] : (double)a[i] * (double)b[i];
	return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])) +
	       rest;
}

static struct array_sum
F(sum)(const T *a, uint64_t count)
{
	return (struct array_sum){ .real = true, .part = F(pairwise)(a, NULL, count) };
}

static struct array_sum
F(dot)(const T *a, const T *b, uint64_t count)
{
	return (struct array_sum){ .real = true, .part = F(pairwise)(a, b, count) };
}

#else /* integers */

/* Products with up to 32 bits are rounded from a double, which holds every element exactly. */
static uint64_t
F(scale)(T *at, uint64_t count, double factor)
{
	uint64_t unfit = 0;

#ifdef EACH_WIDE
	if (fabs(factor) < 0x1p63 && factor == (double)(int64_t)factor) {
		const __int128 by = (int64_t)factor;
		for (uint64_t i = 0; i < count; i++) {
			__int128 product;
			if (__builtin_mul_overflow((__int128)at[i], by, &product))
				product = ((at[i] > 0) == (by > 0)) ? MOST : LEAST;
			__int128 kept = product > MOST ? MOST : product < LEAST ? LEAST : product;
			unfit += kept != product;
			at[i] = (T)kept;
		}
		return unfit;
	}
	for (uint64_t i = 0; i < count; i++) {
		long double product = rintl((long double)at[i] * (long double)factor);
		bool fits = product >= (long double)LEAST && product <= (long double)MOST;
		unfit += !fits;
		at[i] = fits ? (T)product : product > 0 ? MOST : LEAST;
	}
#else
	for (uint64_t i = 0; i < count; i++) {
		double product = rint((double)at[i] * factor);
		double kept = product > (double)MOST    ? (double)MOST
			      : product < (double)LEAST ? (double)LEAST
							: product;
		unfit += kept != product;
		at[i] = (T)kept;
	}
#endif
	return unfit;
}

static void
F(random)(T *at, uint64_t first, uint64_t count, uint64_t seed)
{
	for (uint64_t i = 0; i < count; i++)
		at[i] = (T)(array_random_bits(seed, first + i) >> (64 - 8 * sizeof(T)));
}

static struct array_sum
F(sum)(const T *a, uint64_t count)
{
	__int128 whole;

#ifdef EACH_WIDE
	/* Halves apart: each sum fits 64 bits, and vectors can add them. */
	uint64_t low = 0;
	int64_t high = 0;
	for (uint64_t i = 0; i < count; i++) {
		low += (uint32_t)a[i];
		high += (int64_t)(a[i] >> 32);
	}
	whole = (__int128)high * ((__int128)1 << 32) + low;
#else
	int64_t sum = 0;
	for (uint64_t i = 0; i < count; i++)
		sum += (int64_t)a[i];
	whole = sum;
#endif
	return (struct array_sum){ .whole = whole };
}

static struct array_sum
F(dot)(const T *a, const T *b, uint64_t count)
{
	struct array_sum sum = { 0 };

	for (uint64_t i = 0; i < count; i++) {
		__int128 product;
		if (__builtin_mul_overflow((__int128)a[i], (__int128)b[i], &product) ||
		    __builtin_add_overflow(sum.whole, product, &sum.whole))
			sum.overflow = true;
	}
	return sum;
}

#endif

static void
F(extent)(const T *a, uint64_t count, struct array_extent *ret)
{
	T least = 0, greatest = 0;
	uint64_t first = 0, nans = 0;

#ifdef EACH_REAL
	while (first < count && isnan(a[first]))
		first++;
	nans = first;
#endif
	if (first < count)
		least = greatest = a[first];
	for (uint64_t i = first; i < count; i++) {
		/* What is no number is neither less nor greater. */
		least = a[i] < least ? a[i] : least;
		greatest = a[i] > greatest ? a[i] : greatest;
#ifdef EACH_REAL
		nans += isnan(a[i]) != 0;
#endif
	}
	ret->least = array_value_at(TYPE, &least, 0);
	ret->greatest = array_value_at(TYPE, &greatest, 0);
	ret->numbers = count - nans;
	ret->nans = nans;
}

static void
F(histogram)(const T *a, uint64_t count, double least, double greatest, unsigned bins,
	     uint64_t *counts)
{
	/* Halved: the whole span may be more than a double holds. */
	double span = greatest / 2 - least / 2;
	double scale = span > 0 ? (double)bins / span : 0;

	for (uint64_t i = 0; i < count; i++) {
		double place = ((double)a[i] / 2 - least / 2) * scale;
		if (place != place)
			continue;
		counts[place >= (double)bins ? bins - 1 : place > 0 ? (unsigned)place : 0]++;
	}
}

#undef T
#undef F
#undef TYPE
#undef LEAST
#undef MOST
#undef EACH_WIDE
#undef EACH_REAL
