/* policy_words.h - the words of a policy map (policy.h), in the order of their enums and bits. */
#ifndef PYPREP_DAEMON_POLICY_WORDS_H
#define PYPREP_DAEMON_POLICY_WORDS_H

#define RETRY_WORDS 6u

extern const char *const backoff_words[2];         /* enum policy_backoff */
extern const char *const jitter_words[2];          /* by bool */
extern const char *const after_words[2];           /* enum policy_after */
extern const char *const exists_words[3];          /* enum policy_exists */
extern const char *const retry_words[RETRY_WORDS]; /* POLICY_RETRY_*, from bit 0 up */

#endif
