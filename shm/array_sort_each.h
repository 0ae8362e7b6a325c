/*
 * array_sort_each.h - the loops of array_sort.c, for one type of element.
 *
 * Included with T the type, U the unsigned integer as wide, F(name) a name of its own, and
 * one of KEY_SIGNED, KEY_REAL or neither: how a key, ordered as unsigned, is made of T.
 */

#define TOP ((U)((U)1 << (8 * sizeof(U) - 1)))

static inline U
F(key)(T element)
{
	U bits;

	memcpy(&bits, &element, sizeof(bits));
#if defined(KEY_SIGNED)
	return bits ^ TOP;
#elif defined(KEY_REAL)
	if (element != element)
		bits &= (U)~TOP;
	return bits & TOP ? (U)~bits : bits | TOP;
#else
	return bits;
#endif
}

static inline T
F(element)(U key)
{
	T element;

#if defined(KEY_SIGNED)
	key ^= TOP;
#elif defined(KEY_REAL)
	key = key & TOP ? key ^ TOP : (U)~key;
#endif
	memcpy(&element, &key, sizeof(element));
	return element;
}

/* Counts of each byte's values, for all bytes of the keys in one pass. */
static void
F(count_digits)(const U *keys, uint64_t count, uint64_t digits[sizeof(U)][256])
{
	for (uint64_t i = 0; i < count; i++)
		for (unsigned d = 0; d < sizeof(U); d++)
			digits[d][keys[i] >> (8 * d) & 255]++;
}

/* A byte that is the same in all keys needs no pass. */
static bool
F(digit_is_one)(const uint64_t digit[256], U key, unsigned d, uint64_t count)
{
	return digit[key >> (8 * d) & 255] == count;
}

static int
F(sort)(const T *from, T *to, uint64_t count)
{
	uint64_t digits[sizeof(U)][256] = { 0 };
	U *keys = malloc(2 * count * sizeof(U));

	if (keys == NULL)
		return -ENOMEM;
	U *a = keys, *b = keys + count, any = F(key)(from[0]);
	for (uint64_t i = 0; i < count; i++)
		a[i] = F(key)(from[i]);
	F(count_digits)(a, count, digits);
	for (unsigned d = 0; d < sizeof(U); d++) {
		if (F(digit_is_one)(digits[d], any, d, count))
			continue;
		uint64_t place = 0;
		for (unsigned v = 0; v < 256; v++) {
			uint64_t here = digits[d][v];
			digits[d][v] = place;
			place += here;
		}
		for (uint64_t i = 0; i < count; i++)
			b[digits[d][a[i] >> (8 * d) & 255]++] = a[i];
		U *other = a;
		a = b;
		b = other;
	}
	for (uint64_t i = 0; i < count; i++)
		to[i] = F(element)(a[i]);
	free(keys);
	return 0;
}

/* Of the first `rank` elements of the merge of a and b, how many are a's?  Equal ones are
 * a's first. */
static uint64_t
F(split)(const T *a, uint64_t a_count, const T *b, uint64_t b_count, uint64_t rank)
{
	uint64_t low = rank > b_count ? rank - b_count : 0;
	uint64_t high = rank < a_count ? rank : a_count;

	while (low < high) {
		uint64_t i = low + (high - low) / 2;
		if (F(key)(a[i]) <= F(key)(b[rank - i - 1]))
			low = i + 1;
		else
			high = i;
	}
	return low;
}

static void
F(merge)(const T *a, uint64_t a_count, const T *b, uint64_t b_count, uint64_t rank, T *to,
	 uint64_t count)
{
	uint64_t i = F(split)(a, a_count, b, b_count, rank), j = rank - i, k = 0;

	while (k < count && i < a_count && j < b_count) {
		bool later = F(key)(b[j]) < F(key)(a[i]);
		to[k++] = later ? b[j] : a[i];
		i += !later;
		j += later;
	}
	for (; k < count && i < a_count; k++)
		to[k] = a[i++];
	for (; k < count && j < b_count; k++)
		to[k] = b[j++];
}

static bool
F(is_sorted)(const T *a, uint64_t count)
{
	for (uint64_t i = 1; i < count; i++)
		if (F(key)(a[i]) < F(key)(a[i - 1]))
			return false;
	return true;
}

#undef T
#undef U
#undef F
#undef TOP
#undef KEY_SIGNED
#undef KEY_REAL
