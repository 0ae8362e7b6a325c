/* store_faults.c - see store_faults.h */
#include "tests/daemon_unit/store_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/sqlite.h"
#include "tests/daemon_unit/store_fixture.h"
#include "tests/files.h"
#include "tests/process.h"

#define SECTOR      512
#define CLAIMS_PART 8192 /* of the claims file: its notes and the first slots */

static struct faults faults;
static uint64_t calls;

/* ---- what is not synced ---- */

/* A sector as it was before it was written; or, without bytes, a length that the file had. */
struct undo {
	struct undo *next; /* the one before */
	char path[300];
	off_t offset;
	size_t length;
	off_t size;
	unsigned char bytes[SECTOR];
};
static struct undo *undos; /* newest first */
static unsigned char old_claims[CLAIMS_PART];
static bool have_claims;

static uint64_t
next_random(void)
{
	faults.seed = faults.seed * 6364136223846793005ull + 1442695040888963407ull;
	return faults.seed >> 33;
}

static void
claims_path(char *path, size_t size)
{
	snprintf(path, size, "%s/claims", store_dir);
}

/* Now and then the kernel writes the claims back. */
static void
write_claims_back(void)
{
	char path[300];

	if (next_random() % 16 != 0)
		return;
	claims_path(path, sizeof(path));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	have_claims = pread(fd, old_claims, sizeof(old_claims), 0) == (ssize_t)sizeof(old_claims);
	close(fd);
}

static void
remember(const char *path, off_t offset, size_t length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

	for (size_t done = 0; done == 0 || done < length; done += SECTOR) {
		struct undo *u = calloc(1, sizeof(*u));
		if (u == NULL)
			abort();
		snprintf(u->path, sizeof(u->path), "%s", path);
		u->offset = offset + (off_t)done;
		u->size = size;
		u->length = length - done < SECTOR ? length - done : SECTOR;
		if (fd >= 0) {
			ssize_t n = pread(fd, u->bytes, u->length, u->offset);
			u->length = n > 0 ? (size_t)n : 0;
		}
		u->next = undos;
		undos = u;
	}
	if (fd >= 0)
		close(fd);
}

static void
synced(const char *path)
{
	for (struct undo **at = &undos; *at != NULL;) {
		struct undo *u = *at;
		if (strcmp(u->path, path) != 0) {
			at = &u->next;
			continue;
		}
		*at = u->next;
		free(u);
	}
}

static void
cut_power(void)
{
	char path[300];

	for (struct undo *u = undos; u != NULL; u = u->next) {
		if (next_random() % 2 != 0)
			continue;
		int fd = open(u->path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (u->length > 0)
			(void)!pwrite(fd, u->bytes, u->length, u->offset);
		else if (next_random() % 2 != 0)
			(void)!ftruncate(fd, u->size);
		close(fd);
	}
	claims_path(path, sizeof(path));
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && have_claims && next_random() % 2 != 0)
		(void)!pwrite(fd, old_claims, sizeof(old_claims), 0);
	kill(getpid(), SIGKILL);
}

/* ---- the VFS ---- */

struct file {
	sqlite3_file base;
	sqlite3_file *real;
	char path[300];
};

static sqlite3_vfs vfs, *below;
static sqlite3_io_methods methods;

static sqlite3_file *
real(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

/* Count a call.  true: it is to fail with an error. */
static bool
strikes(bool is_sync)
{
	if (faults.syncs_only && !is_sync)
		return false;
	calls++;
	if (faults.fault == FAULT_CUT)
		write_claims_back();
	if (faults.fault == FAULT_NONE || calls < faults.at)
		return false;
	if (faults.fault == FAULT_KILL)
		kill(getpid(), SIGKILL);
	if (faults.fault == FAULT_CUT)
		cut_power();
	return faults.fault == FAULT_KILL_HALF || calls <= faults.until;
}

static int
fault_errno(void)
{
	return faults.fault == FAULT_FULL ? ENOSPC : EIO;
}

static int
file_write(sqlite3_file *f, const void *bytes, int amount, sqlite3_int64 offset)
{
	bool fails = strikes(false);
	int half = amount / 2;

	if (faults.fault == FAULT_CUT)
		remember(((struct file *)f)->path, offset, (size_t)amount);
	if (!fails)
		return real(f)->pMethods->xWrite(real(f), bytes, amount, offset);
	if (faults.fault != FAULT_IO)
		(void)real(f)->pMethods->xWrite(real(f), bytes, half, offset);
	if (faults.fault == FAULT_KILL_HALF)
		kill(getpid(), SIGKILL);
	errno = fault_errno();
	return faults.fault == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int
file_sync(sqlite3_file *f, int flags)
{
	bool fails = strikes(true);

	if (faults.fault == FAULT_KILL_HALF && fails)
		kill(getpid(), SIGKILL);
	if (fails) {
		errno = fault_errno();
		return SQLITE_IOERR_FSYNC;
	}
	/* The disk is left alone: what it would have is known here. */
	(void)flags;
	if (faults.fault == FAULT_CUT)
		synced(((struct file *)f)->path);
	return SQLITE_OK;
}

static int
file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	if (strikes(false)) {
		if (faults.fault == FAULT_KILL_HALF)
			kill(getpid(), SIGKILL);
		errno = fault_errno();
		return SQLITE_IOERR_TRUNCATE;
	}
	return real(f)->pMethods->xTruncate(real(f), size);
}

#define FORWARD(name, parameters, arguments)                 \
	static int name parameters                           \
	{                                                    \
		return real(f)->pMethods->x##name arguments; \
	}
FORWARD(Close, (sqlite3_file * f), (real(f)))
FORWARD(Read, (sqlite3_file * f, void *to, int n, sqlite3_int64 at), (real(f), to, n, at))
FORWARD(FileSize, (sqlite3_file * f, sqlite3_int64 *n), (real(f), n))
FORWARD(Lock, (sqlite3_file * f, int level), (real(f), level))
FORWARD(Unlock, (sqlite3_file * f, int level), (real(f), level))
FORWARD(CheckReservedLock, (sqlite3_file * f, int *held), (real(f), held))
FORWARD(FileControl, (sqlite3_file * f, int op, void *p), (real(f), op, p))
FORWARD(SectorSize, (sqlite3_file * f), (real(f)))
FORWARD(DeviceCharacteristics, (sqlite3_file * f), (real(f)))
FORWARD(ShmMap, (sqlite3_file * f, int i, int n, int x, void volatile **p), (real(f), i, n, x, p))
FORWARD(ShmLock, (sqlite3_file * f, int o, int n, int flags), (real(f), o, n, flags))
FORWARD(ShmUnmap, (sqlite3_file * f, int delete), (real(f), delete))

static void
ShmBarrier(sqlite3_file *f)
{
	real(f)->pMethods->xShmBarrier(real(f));
}

static int
vfs_open(sqlite3_vfs *unused, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct file *file = (struct file *)f;

	(void)unused;
	snprintf(file->path, sizeof(file->path), "%s", name != NULL ? name : "");
	file->real = (sqlite3_file *)(file + 1);
	int r = below->xOpen(below, name, file->real, flags, ret_flags);
	f->pMethods = r == SQLITE_OK ? &methods : NULL;
	return r;
}

static int
vfs_delete(sqlite3_vfs *unused, const char *name, int sync_directory)
{
	(void)unused;
	if (strikes(false)) {
		if (faults.fault == FAULT_KILL_HALF)
			kill(getpid(), SIGKILL);
		errno = fault_errno();
		return SQLITE_IOERR_DELETE;
	}
	if (faults.fault == FAULT_CUT)
		synced(name);
	return below->xDelete(below, name, sync_directory);
}

void
faults_setup(void)
{
	char problem[200];

	store_ops = &store_sqlite;
	if (sqlite_load(problem, sizeof(problem)) < 0 || (below = sqlite.vfs_find(NULL)) == NULL)
		abort();
	methods = (sqlite3_io_methods){
		.iVersion = 2,
		.xClose = Close,
		.xRead = Read,
		.xWrite = file_write,
		.xTruncate = file_truncate,
		.xSync = file_sync,
		.xFileSize = FileSize,
		.xLock = Lock,
		.xUnlock = Unlock,
		.xCheckReservedLock = CheckReservedLock,
		.xFileControl = FileControl,
		.xSectorSize = SectorSize,
		.xDeviceCharacteristics = DeviceCharacteristics,
		.xShmMap = ShmMap,
		.xShmLock = ShmLock,
		.xShmBarrier = ShmBarrier,
		.xShmUnmap = ShmUnmap,
	};
	vfs = *below;
	vfs.zName = "faulty";
	vfs.pNext = NULL;
	vfs.szOsFile += (int)sizeof(struct file);
	vfs.xOpen = vfs_open;
	vfs.xDelete = vfs_delete;
	/* The default: ours is built on it. */
	if (sqlite.vfs_register(&vfs, 1) != SQLITE_OK)
		abort();
}

/* ---- the script: runs in the child ---- */

static void
note_error(struct script *s, int error)
{
	s->failures++;
	s->error = error;
}

static bool
make(struct script *s, struct store_change *c, uint8_t *acknowledged)
{
	if (faults.early)
		*acknowledged += 1;
	int r = apply(c);
	if (r < 0)
		note_error(s, r);
	else if (!faults.early)
		*acknowledged += 1;
	return r == 0;
}

static bool
take(struct script *s, uint64_t id, struct store_change *c)
{
	uint16_t attempt = (uint16_t)(s->claimed[id] + 1);

	c->end.receipt.attempt = attempt;
	if (store_ops->claim(store, id, attempt, &c->end.fence) < 0)
		return false;
	s->claimed[id]++;
	return true;
}

/* Job `id`: of four, one stays queued, one ends, one is tried again, one stays claimed. */
static void
script_job(struct script *s, uint64_t id)
{
	static unsigned char params[6000];
	struct store_change c = new_job(id), end = new_end(id, JOB_SUCCEEDED);

	c.job.params = (struct bytes){ params, id % 5 == 0 ? sizeof(params) : 30 };
	if (!make(s, &c, &s->added[id])) {
		s->failed[id] = 1;
		if (read_job(id) != NULL)
			s->failed[id] = 2; /* it failed, and is there */
		return;
	}
	if (id % 4 == 0 || !take(s, id, &end) || id % 4 == 3)
		return;
	if (write_output(id, 1, 1, 0, "a line of output\n") == 0)
		s->written[id] = 1;
	uint8_t retried = 0;
	if (id % 4 == 2) {
		end.type = CHANGE_RETRY;
		if (!make(s, &end, &retried))
			return;
		store_ops->unclaim(store, id, end.end.fence);
		(void)take(s, id, &end);
		return;
	}
	if (make(s, &end, &s->ended[id]))
		store_ops->unclaim(store, id, end.end.fence);
}

static void
script(struct script *s)
{
	struct store_problem why;

	s->opened = store_ops->open(&store, &store_options, &why);
	for (uint64_t id = 1; id <= SCRIPT_JOBS && s->opened == 0; id++) {
		script_job(s, id);
		if (id % 8 == 0 && s->failures == 0) { /* the log goes into the database */
			store_ops->close(store);
			s->opened = store_ops->open(&store, &store_options, &why);
		}
	}
	if (s->opened == 0)
		store_ops->close(store);
	s->calls = calls;
	s->finished = 1;
}

void
faults_run(const struct faults *f, struct script *ret)
{
	struct script *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		abort();
	test_dir_remove(store_dir);
	test_dir_make(store_dir, 256);
	store_options = (struct store_options){ .state_dir = store_dir, .no_sync = f->no_sync };
	pid_t child = test_fork();
	if (child == 0) {
		faults = *f;
		calls = 0;
		script(shared);
		_exit(0);
	}
	int status = wait_exit(child, 60000);
	bool killed = status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	*ret = *shared;
	munmap(shared, sizeof(*shared));
	if (status < 0 || (!killed && !ret->finished)) {
		fprintf(stderr, "the script ended with status %x\n", (unsigned)status);
		abort();
	}
}

/* ---- looking ---- */

static char problem[500];

static const char *
wrong(uint64_t id, const char *what)
{
	snprintf(problem, sizeof(problem), "job %llu: %s", (unsigned long long)id, what);
	return problem;
}

static const char *
check_job(const struct script *s, uint64_t id, bool claims)
{
	const struct kept *k = read_job(id);

	if (k == NULL)
		return s->added[id] ? wrong(id, "it was added, and is lost") : NULL;
	if (k->next != NULL)
		return wrong(id, "it is there twice");
	if (s->failed[id])
		return wrong(id, "adding it failed, and it is there");
	unsigned attempts = 0;
	for (const struct kept *a = read_attempts(id); a != NULL; a = a->next)
		attempts++;
	if (s->ended[id] && !k->row.ended)
		return wrong(id, "it had ended, and is open");
	if (k->row.ended && attempts != 1)
		return wrong(id, "it ended more than once");
	if (s->written[id] && strcmp(read_output(id, 1, 0, 0), "1:a line of output\n") != 0)
		return wrong(id, "its output is lost");
	if (claims && k->row.job.attempt < s->claimed[id])
		return wrong(id, "an attempt was begun, and is not counted");
	if (k->row.job.attempt > s->claimed[id] + 1)
		return wrong(id, "attempts are counted that were not begun");
	return NULL;
}

const char *
faults_check(const struct script *s, bool claims)
{
	struct store_problem why = { "" };
	const char *bad = NULL;

	faults = (struct faults){ 0 };
	int r = store_ops->open(&store, &store_options, &why);
	if (r < 0) {
		snprintf(problem, sizeof(problem), "it cannot be opened: %s: %s", strerror(-r),
			 why.message);
		return problem;
	}
	for (uint64_t id = 1; id <= SCRIPT_JOBS && bad == NULL; id++) {
		if (s->failed[id] == 2)
			bad = wrong(id, "adding it failed, and it was there at once");
		if (bad == NULL)
			bad = check_job(s, id, claims);
	}
	if (bad == NULL) { /* and it works */
		struct store_change c = new_job(1000);
		if (apply(&c) < 0 || read_job(1000) == NULL)
			bad = "nothing can be added";
	}
	store_ops->close(store);
	store = NULL;
	return bad;
}
