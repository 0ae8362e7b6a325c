/*
 * ipc.h - `pyprepctl ipc`: what pyprep holds to let processes talk, as rows.
 *
 *   ipc.c         the sub-verbs
 *   ipc_ls.c      the tables and the JSON
 *   ipc_rm.c      removes what nobody needs any more
 *   ipc_list.c    rows; gathers them all
 *   ipc_daemon.c  the daemon's own registry (verb `ipc`), checked against /proc
 *   ipc_proc.c    reads /proc
 *   ipc_diag.c    reads what the kernel knows of unix sockets
 *   ipc_sockets.c ... and puts it to the daemon's
 *   ipc_manager.c counters and locks
 *   ipc_named.c   named objects in /dev/shm
 *   ipc_files.c   what lies in a runtime directory
 *
 * Everything is looked at from outside: nothing is mapped, locked or written, so that a
 * listing costs those who work nothing but the broker's answer.
 */
#ifndef PYPREP_CTL_IPC_H
#define PYPREP_CTL_IPC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/ctl/command.h"
#include "client/ctl/units.h"

/* ---- rows ---- */

#define IPC_UNKNOWN  UINT64_MAX /* a figure that does not apply, or nobody knows */
#define IPC_ATTACHED 64         /* pids kept; more are counted */

enum ipc_state {
	IPC_LIVE,    /* in use */
	IPC_IDLE,    /* those who use it live; nothing is in it */
	IPC_UNUSED,  /* kept by its name, nobody is attached: not an orphan */
	IPC_ORPHAN,  /* those who needed it are dead; `ipc rm --orphans` removes it */
	IPC_STRANGE, /* the registry and /proc do not agree, or it is not ours */
};

struct ipc_row {
	const char *kind; /* a member of ipc_kinds, so pointers may be compared */
	char name[NAME_MAX + 1];
	char owner[64], peer[64];  /* roles: "broker", "worker cpu/0", "client 3" */
	pid_t owner_pid, peer_pid; /* 0: nobody, or not known */
	char way[16];
	pid_t attached[IPC_ATTACHED];
	unsigned attached_count; /* may be more than are kept */
	uint64_t inode, fd;
	uint64_t bytes, used, used_high;
	uint64_t in, out, bytes_in, bytes_out;
	uint64_t depth, depth_high, free, object_bytes;
	uint64_t age_ns;
	bool has_value;
	int64_t value; /* of a counter; of a lock, its fence */
	enum ipc_state state;
	char reason[160];
	/* What `ipc rm` removes: files in /dev/shm, or one path.  "": nothing */
	char file[NAME_MAX + 1], second_file[NAME_MAX + 1];
	char path[PATH_MAX];
};

struct ipc_list {
	struct ipc_row *rows;
	size_t count, capacity;
	bool daemon; /* one answered */
	pid_t supervisor, broker, spare;
	uint64_t hidden;            /* rows of others that only operators see */
	unsigned unreadable;        /* processes of the daemon whose /proc we may not read */
	char runtime_dir[PATH_MAX]; /* of the daemon, or where one would be */
	char note[480];             /* why there is no daemon */
};

/* The kinds, in the order of the listing; NULL at the end. */
extern const char *const ipc_kinds[];
/* The name of a kind, or NULL. */
const char *ipc_kind(const char *text, size_t length);
const char *ipc_state_text(enum ipc_state state);

/* A new row with every figure unknown; valid until the next one is made. */
struct ipc_row *ipc_add(struct ipc_list *list, const char *kind);
void ipc_attach(struct ipc_row *row, pid_t pid); /* once for each pid */
void ipc_say(struct ipc_row *row, enum ipc_state state, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Everything there is.  A daemon that cannot be reached is no error: list->note says so. */
void ipc_gather(struct ipc_list *list);
void ipc_free(struct ipc_list *list);

/* ---- where rows come from ---- */

void ipc_from_daemon(struct ipc_list *list);
void ipc_from_counters(struct ipc_list *list, struct pyprep *p);
void ipc_from_locks(struct ipc_list *list);
void ipc_from_names(struct ipc_list *list);
void ipc_from_files(struct ipc_list *list);

/* ---- /proc ---- */

/* What a process has mapped or open. */
enum proc_what { PROC_MEMFD, PROC_NAMED /* in /dev/shm */, PROC_SOCKET };

struct proc_memory {
	uint64_t inode;
	pid_t pid;
	enum proc_what what;
	uint64_t bytes; /* the largest view of it */
	char label[80]; /* of the memfd, or the file's name */
};

struct proc_list {
	struct proc_memory *memory;
	size_t count, capacity;
};

/* Add what `pid` has mapped and open, each once.  -EACCES: not ours to look at. */
int proc_memory(struct proc_list *list, pid_t pid);
/* ... of all processes whose /proc may be read, mapped only. */
void proc_memory_all(struct proc_list *list);
void proc_free(struct proc_list *list);
const struct proc_memory *proc_find(const struct proc_list *list, uint64_t inode,
				    enum proc_what what);

/* Call `each` for every process whose parent is `parent` (0: every process). */
void proc_each(pid_t parent, void (*each)(void *context, pid_t pid), void *context);
/* Does descriptor `fd` of `pid` stand for socket `inode`?  1, 0, or -EACCES. */
int proc_has_socket(pid_t pid, uint64_t fd, uint64_t inode);
/* The role in its title ("worker cpu/0"), else its name; "" when it is gone. */
void proc_role(pid_t pid, char *ret, size_t size);
bool proc_is_stopped(pid_t pid);                /* by SIGSTOP, or a debugger */
bool proc_maps(pid_t pid, const char *library); /* is a file of such a name mapped there? */
/* Does somebody listen on a unix socket of that path?  By /proc/net/unix. */
bool proc_listens(const char *path);

/* ---- sockets as the kernel knows them ---- */

struct diag_socket {
	uint32_t inode, peer; /* 0: not connected */
	uint32_t waiting;     /* bytes to be read; of a listening one: connections */
	bool listens;
	char path[109];
};

struct diag_list {
	struct diag_socket *sockets;
	size_t count, capacity;
};

/* Empty where the kernel does not tell. */
void diag_read(struct diag_list *list);
void diag_free(struct diag_list *list);
const struct diag_socket *diag_find(const struct diag_list *list, uint64_t inode);

/* What waits in registered sockets; rows for the others among the first `ours` of `seen`. */
void ipc_from_sockets(struct ipc_list *list, const struct proc_list *seen, size_t ours);

/* ---- the sub-verbs ---- */

struct ipc_verb {
	const char *name;
	int (*run)(char **word, int count);
};

/* Options, filled by the parser. */
struct ipc_options {
	bool wide, orphans, force, dry_run, quick;
	const char *payload, *svg; /* lab */
	uint64_t watch_ns;
};
extern struct ipc_options ipc_options;

int ipc_ls(char **word, int count);
int ipc_rm(char **word, int count);
int ipc_lab(char **word, int count); /* ipc_lab.h */

#endif
