/*
 * title.h - what ps(1) shows for this process: "pyprepd: worker cpu/0".
 */
#ifndef PYPREP_DAEMON_TITLE_H
#define PYPREP_DAEMON_TITLE_H

/* Once, first thing in main(): moves the arguments and the environment to the heap (argv[i]
 * and getenv() stay valid) so that their old place can hold the title.  Without memory for
 * that, titles stay as they are. */
void title_init(int argc, char **argv);

/* The whole title, cut to the room there is.  The short name in top and in the kernel's
 * messages becomes "pyprepd:cpu/0": first and last word, cut to 15 bytes. */
void title_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
