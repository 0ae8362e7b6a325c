/*
 * process.h - what tests ask of processes: descriptors, children, zombies, titles; and the
 * running of commands.  Everything reads /proc; nothing here knows pyprep.
 */
#ifndef PYPREP_TESTS_PROCESS_H
#define PYPREP_TESTS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Wait until `condition` is true, looking every 2 ms, for at most `ms`.  The value is
 * whether it became true. */
#define wait_until(ms, condition)                                        \
	({                                                               \
		uint64_t wait_deadline = test_now_ms() + (uint64_t)(ms); \
		bool wait_ok = false;                                    \
		while (!(wait_ok = (condition))) {                       \
			if (test_now_ms() >= wait_deadline)              \
				break;                                   \
			test_pause();                                    \
		}                                                        \
		wait_ok;                                                 \
	})

uint64_t test_now_ms(void);
void test_pause(void); /* 2 ms */

/* fork() for a helper process: it dies with the test (PR_SET_PDEATHSIG).  The child must
 * end by _exit() and may not use Criterion's assertions. */
pid_t test_fork(void);

/* Send `signal` to our child `pid` and wait for it; its status as waitpid gives it, or
 * -errno. */
int kill_and_wait(pid_t pid, int signal);

/* Wait at most `ms` for our child `pid` to end; its status, or -ETIMEDOUT. */
int wait_exit(pid_t pid, unsigned ms);

bool process_exists(pid_t pid);                         /* a zombie does not count */
int count_fds(pid_t pid);                               /* open descriptors, or -errno */
int list_children(pid_t pid, pid_t *children, int max); /* how many; zombies too */
int count_zombies(pid_t parent);                        /* zombies whose parent it is */
int count_threads(pid_t pid);
char process_state(pid_t pid); /* R S D T Z ...; 0: there is none */

/* The title: /proc/PID/cmdline with spaces for NULs.  false when it is gone. */
bool process_title(pid_t pid, char *buffer, size_t size);

/* How many processes of this machine have it. */
int count_titled(const char *title);

/* The living child of `pid` that has it, or 0. */
pid_t child_with_title(pid_t pid, const char *title);

/* VmRSS, VmHWM, ... of /proc/PID/status in bytes; 0 when it is not there. */
uint64_t process_memory(pid_t pid, const char *field);

/* A command run by /bin/sh. */
struct command_result {
	int status;   /* exit status; 128 + N for signal N */
	char *output; /* stdout; never NULL */
	char *errors; /* stderr */
	size_t output_length;
};

/* Run it with TMPDIR and the environment of the test, for at most 60 s.  End the result with
 * command_free(). */
struct command_result run_command(const char *format, ...) __attribute__((format(printf, 1, 2)));
void command_free(struct command_result *result);

#endif
