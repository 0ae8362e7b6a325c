/* account.h - who a command becomes when the daemon runs as root: user, group and the
 * supplementary groups that the user database gives. */
#ifndef PYPREP_DAEMON_EXECUTORS_ACCOUNT_H
#define PYPREP_DAEMON_EXECUTORS_ACCOUNT_H

#include <stddef.h>
#include <sys/types.h>

struct account {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned */
	size_t group_count;
};

/* 0, -ENOENT: the uid has no account, or another -errno.  Free *ret with account_free(). */
int account_look_up(uid_t uid, gid_t gid, struct account *ret);
void account_free(struct account *i); /* NULL groups are fine */

#endif
