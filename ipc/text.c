/* text.c - see text.h */
#include "ipc/text.h"

/* Does one whole character of UTF-8 stand at `at`?  Its bytes, or 0.  Overlong forms, surrogates
 * and what lies above U+10FFFF are none. */
static size_t
utf8_length(const unsigned char *at, size_t left)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high, length;
	} forms[] = {
		{ 0x00, 0x7f, 0x00, 0x00, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (at[0] < forms[i].first_low || at[0] > forms[i].first_high)
			continue;
		if (forms[i].length > left)
			return 0;
		if (forms[i].length > 1 &&
		    (at[1] < forms[i].second_low || at[1] > forms[i].second_high))
			return 0;
		for (unsigned j = 2; j < forms[i].length; j++)
			if ((at[j] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

bool
text_is_shown(const void *text, size_t length)
{
	const unsigned char *at = text;

	while (length > 0) {
		size_t n = utf8_length(at, length);
		/* below a space; DEL; and U+0080 to U+009F, which terminals obey, too */
		if (n == 0 || at[0] < ' ' || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0))
			return false;
		at += n;
		length -= n;
	}
	return true;
}
