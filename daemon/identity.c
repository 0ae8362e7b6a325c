/*
 * identity.c - peers by the kernel's credentials, and the rules of access.
 */
#include "daemon/identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define LOOKUP_NS    (60 * NS_PER_S) /* an account that changes is seen after this */
#define NAMES_CACHED 64
#define GROUPS_MAX   65536 /* NGROUPS_MAX of Linux */
#define GROUPS_FIRST 64

int
identity_of_socket(int fd, struct identity *ret)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return -errno;
	*ret = (struct identity){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
	return 0;
}

/* The accounts database's word, for kernels without SO_PEERGROUPS (before 4.13). */
static bool
user_in_group(uid_t uid, gid_t gid, gid_t group)
{
	scoped_free gid_t *groups = calloc(GROUPS_MAX, sizeof(*groups));
	int count = GROUPS_MAX;

	if (groups == NULL || getgrouplist(identity_name(uid), gid, groups, &count) < 0)
		return false;
	for (int i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return false;
}

bool
identity_in_group(int fd, uid_t uid, gid_t gid, gid_t group)
{
	if (gid == group)
		return true;
	if (fd < 0)
		return user_in_group(uid, gid, group);
	for (size_t room = GROUPS_FIRST; room <= GROUPS_MAX; room = GROUPS_MAX) {
		scoped_free gid_t *groups = calloc(room, sizeof(*groups));
		socklen_t length = (socklen_t)(room * sizeof(*groups));
		if (groups == NULL)
			return false;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0) {
			for (size_t i = 0; i < length / sizeof(*groups); i++)
				if (groups[i] == group)
					return true;
			return false;
		}
		if (errno == ENOPROTOOPT)
			return user_in_group(uid, gid, group);
		if (errno != ERANGE || room == GROUPS_MAX)
			return false;
	}
	return false;
}

const char *
identity_name(uid_t uid)
{
	static struct {
		uint64_t until_ns; /* 0: empty */
		uid_t uid;
		char name[64];
	} cache[NAMES_CACHED];
	typeof(&cache[0]) entry = &cache[uid % NAMES_CACHED];
	uint64_t now = clock_now();

	if (entry->until_ns > now && entry->uid == uid)
		return entry->name;
	const struct passwd *p = getpwuid(uid);
	entry->uid = uid;
	entry->until_ns = now + LOOKUP_NS;
	if (p && strlen(p->pw_name) < sizeof(entry->name))
		strcpy(entry->name, p->pw_name);
	else
		snprintf(entry->name, sizeof(entry->name), "%u", (unsigned)uid);
	return entry->name;
}

/* The gid of the configured group.  A name that no group has is told once, and nobody is in
 * it. */
static bool
group_id(const char *name, gid_t *ret)
{
	static struct {
		uint64_t until_ns;
		char name[sizeof(((struct config *)0)->group)];
		gid_t gid;
		bool found;
	} cache;
	uint64_t now = clock_now();
	bool same = strcmp(cache.name, name) == 0;

	if (!same || cache.until_ns <= now) {
		const struct group *g = getgrnam(name);
		if (g == NULL && (!same || cache.found))
			log_warn("there is no group \"%s\": its members cannot submit jobs; create "
				 "it with groupadd, or set group in the configuration",
				 name);
		cache.found = g != NULL;
		cache.gid = g ? g->gr_gid : 0;
		cache.until_ns = now + LOOKUP_NS;
		snprintf(cache.name, sizeof(cache.name), "%s", name);
	}
	*ret = cache.gid;
	return cache.found;
}

static bool
is_operator(const struct config *c, uid_t uid)
{
	const char *name = c->operator_count > 0 ? identity_name(uid) : "";

	for (unsigned i = 0; i < c->operator_count; i++)
		if (strcmp(c->operators[i], name) == 0)
			return true;
	return false;
}

/* A job of `who` would run with root's rights though they are not root. */
static bool
above_its_user(const struct identity *who)
{
	return geteuid() == 0 && who->uid != 0;
}

enum access
identity_access(const struct config *c, int fd, const struct identity *who)
{
	gid_t group;

	if (who->uid == 0 || who->uid == geteuid() || is_operator(c, who->uid))
		return ACCESS_OPERATE;
	if (!identity_may_submit(c, who) || c->group[0] == '\0' || !group_id(c->group, &group))
		return ACCESS_NONE;
	return identity_in_group(fd, who->uid, who->gid, group) ? ACCESS_SUBMIT : ACCESS_NONE;
}

bool
identity_may_submit(const struct config *c, const struct identity *who)
{
	return !above_its_user(who) || c->drop_to_client;
}

bool
identity_commands_only(const struct config *c, const struct identity *who)
{
	(void)c; /* with drop_to_client or without, nothing but commands can change its user */
	return above_its_user(who);
}
