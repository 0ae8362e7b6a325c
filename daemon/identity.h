/*
 * identity.h - who is at the other end of a unix socket, and what they may do.
 *
 * The kernel's word decides (SO_PEERCRED, SO_PEERGROUPS), never a claim in a message.
 * Names of users and groups are looked up once a minute at most.  For the broker's
 * thread alone: the caches have no lock.
 */
#ifndef PYPREP_DAEMON_IDENTITY_H
#define PYPREP_DAEMON_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/config.h"

struct identity {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* In rising order: what includes what. */
enum access {
	ACCESS_NONE,    /* no connection */
	ACCESS_SUBMIT,  /* submit; see and cancel their own jobs */
	ACCESS_OPERATE, /* everything, with everybody's jobs */
};

/* Who connected `fd`.  0 or -errno. */
int identity_of_socket(int fd, struct identity *ret);

/* Is the process that connected `fd` in `group`, as its primary or another group?  What
 * cannot be found out is no.  fd -1: the accounts database decides for the user. */
bool identity_in_group(int fd, uid_t uid, gid_t gid, gid_t group);

/* The user's name, or the number when there is none.  Valid until the next call. */
const char *identity_name(uid_t uid);

/* root, the daemon's own user and the `operators` operate; members of `group` submit;
 * everybody else is refused.  Members are refused too by a daemon that runs as root without
 * drop_to_client. */
enum access identity_access(const struct config *c, int fd, const struct identity *who);

/* May jobs of `who` be taken, given that identity_access() let them in?  No: the daemon runs
 * as root, they are somebody else (an operator, say) and drop_to_client is off. */
bool identity_may_submit(const struct config *c, const struct identity *who);

/* Are commands, run as the client's user, all that `who` may submit?  So it is for everybody
 * but root in a daemon that runs as root. */
bool identity_commands_only(const struct config *c, const struct identity *who);

#endif
