/* account.c - see account.h */
#include "daemon/executors/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "ipc/cleanup.h"

#define ENTRY_BYTES  16384u
#define GROUPS_FIRST 64
#define GROUPS_MAX   65536 /* the kernel's NGROUPS_MAX */

static int
look_up_groups(const char *name, gid_t gid, struct account *ret)
{
	/* getgrouplist() says how many there are, when they do not fit. */
	for (int room = GROUPS_FIRST; room <= GROUPS_MAX;) {
		int count = room;
		gid_t *groups = malloc((size_t)room * sizeof(*groups));
		if (groups == NULL)
			return -ENOMEM;
		if (getgrouplist(name, gid, groups, &count) >= 0) {
			ret->groups = groups;
			ret->group_count = (size_t)count;
			return 0;
		}
		free(groups);
		room = count > room ? count : room * 2;
	}
	return -E2BIG;
}

int
account_look_up(uid_t uid, gid_t gid, struct account *ret)
{
	struct passwd entry, *found = NULL;
	scoped_free char *buffer = malloc(ENTRY_BYTES);
	if (buffer == NULL)
		return -ENOMEM;
	int r = getpwuid_r(uid, &entry, buffer, ENTRY_BYTES, &found);
	if (found == NULL)
		return r != 0 ? -r : -ENOENT;

	*ret = (struct account){ .uid = uid, .gid = gid };
	return look_up_groups(entry.pw_name, gid, ret);
}

void
account_free(struct account *i)
{
	free(i->groups);
	i->groups = NULL;
}
