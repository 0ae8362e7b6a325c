/* ipc_rm.c - pyprepctl ipc rm: one named object, or every orphan. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"
#include "shm/array.h"
#include "shm/named.h"

/* ---- removing ---- */

/* The file that was judged, and no other that has its name by now. */
static int
remove_named(const struct ipc_row *row)
{
	scoped_fd fd = -1;
	struct stat st;

	int r = named_open(row->file, false, &fd);
	if (r == -EACCES)
		return named_unlink(row->file);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || (row->inode != IPC_UNKNOWN && st.st_ino != row->inode))
		return -ESTALE;
	return named_unlink(row->file);
}

/* An orphan is judged once more, under the array's own lock. */
static int
remove_array(const struct ipc_row *row)
{
	struct array_collected done;
	int fd, r;

	if (row->state != IPC_ORPHAN)
		return array_unlink(row->name);
	r = array_collect_one(row->name, &done);
	if (r < 0)
		return r;
	r = named_open(row->file, false, &fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	close(fd);
	return done.kept > 0 ? -EBUSY : -EPERM;
}

/* A daemon that starts now takes the directory's lock first: with the lock ours, nobody
 * binds a socket there while we remove the old one. */
static int
remove_socket(const struct ipc_row *row)
{
	char lock_path[PATH_MAX];
	const char *slash = strrchr(row->path, '/');
	int n = snprintf(lock_path, sizeof lock_path, "%.*s/pyprepd.lock", (int)(slash - row->path),
			 row->path);

	if (n >= (int)sizeof lock_path)
		return -ENAMETOOLONG;
	scoped_fd lock = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (lock < 0 && errno != ENOENT)
		return -errno;
	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
		return -EBUSY;
	return unlink(row->path) < 0 ? -errno : 0;
}

static void
say_removed(const struct ipc_row *row)
{
	const char *what = ipc_options.dry_run ? "would remove" : "removed";

	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s, s:s, s:b}", "schema", "pyprep.ipc-removed/1",
					  "kind", row->kind, "name", row->name, "removed",
					  !ipc_options.dry_run));
	else if (!ctl.quiet)
		printf("%s %s %s%s%s\n", what, row->kind, row->name, row->reason[0] ? ": " : "",
		       row->reason);
}

/* The exit status. */
static int
remove_row(const struct ipc_row *row)
{
	int r = 0;

	if (!ipc_options.dry_run)
		r = strcmp(row->kind, "array") == 0 ? remove_array(row)
		    : row->file[0]                  ? remove_named(row)
						    : remove_socket(row);
	if (r == 0) {
		say_removed(row);
		return 0;
	}
	if (r == -ENOENT)
		return 0; /* somebody was faster */
	return ctl_fail(r == -EACCES || r == -EPERM ? EXIT_NOT_ALLOWED : EXIT_SOME_FAILED,
			"not_removed", "cannot remove %s %s: %s", row->kind, row->name,
			r == -EBUSY ? "somebody uses it by now" : strerror(-r));
}

/* ---- choosing ---- */

/* "queue.NAME" and "NAME" both name /dev/shm/pyprep.queue.NAME. */
static bool
is_named(const struct ipc_row *row, const char *name)
{
	return row->file[0] && (strcmp(row->name, name) == 0 || strcmp(row->file, name) == 0 ||
				strcmp(row->file + strlen(NAMED_PREFIX), name) == 0);
}

static bool
is_asked(const struct ipc_row *row, char **word, int count)
{
	for (int i = 0; i < count; i++)
		if (is_named(row, word[i]) || strcmp(row->path, word[i]) == 0)
			return true;
	return count == 0;
}

static int
remove_orphans(struct ipc_list *list, char **word, int count)
{
	unsigned orphans = 0;
	int status = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct ipc_row *row = &list->rows[i];
		if (row->state != IPC_ORPHAN || (!row->file[0] && !row->path[0]) ||
		    !is_asked(row, word, count))
			continue;
		orphans++;
		int s = remove_row(row);
		status = s != 0 ? s : status;
	}
	if (orphans == 0 && !ctl.json && !ctl.quiet)
		printf("no orphans\n");
	return status;
}

static int
remove_name(struct ipc_list *list, const char *name)
{
	const struct ipc_row *found = NULL;

	for (size_t i = 0; i < list->count; i++) {
		if (!is_named(&list->rows[i], name))
			continue;
		if (found)
			return ctl_fail(
				EXIT_USAGE, "usage",
				"'%s' is the name of a %s and of a %s; write %s.%s or %s.%s", name,
				found->kind, list->rows[i].kind, found->kind, name,
				list->rows[i].kind, name);
		found = &list->rows[i];
	}
	if (!found)
		return ctl_fail(EXIT_NO_SUCH, "no_such_object",
				"there is no named object '%s'; 'pyprepctl ipc ls' lists all",
				name);
	if (!ipc_options.force && found->attached_count > 0)
		return ctl_fail(EXIT_SOME_FAILED, "in_use",
				"%s %s is held by %u living process%s (pid %d%s); they would go on "
				"with it, others would no longer find it: add --force to remove it",
				found->kind, found->name, found->attached_count,
				found->attached_count == 1 ? "" : "es", (int)found->attached[0],
				found->attached_count > 1 ? ", ..." : "");
	if (!ipc_options.force && found->state == IPC_STRANGE)
		return ctl_fail(EXIT_SOME_FAILED, "not_ours",
				"%s is not known to be pyprep's (%s): add --force to remove it",
				found->file, found->reason);
	return remove_row(found);
}

int
ipc_rm(char **word, int count)
{
	struct ipc_list list;
	int status = 0;

	if (!ipc_options.orphans && count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"write: pyprepctl ipc rm NAME..., or pyprepctl ipc rm --orphans");
	ipc_gather(&list);
	if (!list.daemon && !ctl.quiet)
		ctl_note("only named objects and files: %s", list.note);
	if (ipc_options.orphans)
		status = remove_orphans(&list, word, count);
	for (int i = 0; !ipc_options.orphans && i < count; i++) {
		int s = remove_name(&list, word[i]);
		status = s != 0 ? s : status;
	}
	ipc_free(&list);
	return status;
}
