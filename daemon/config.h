/*
 * config.h - what pyprepd was told: INI file and defaults.
 *
 *   [daemon]                         [pool "cpu"]
 *   drain_deadline = 30s             executor = process
 *
 * An unknown section or key and a bad value are refused with file, line, what was
 * expected and the nearest name.  Keys, types, ranges, defaults and help are one table in
 * config_keys.c; pyprepd.conf(5) follows it.
 */
#ifndef PYPREP_DAEMON_CONFIG_H
#define PYPREP_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "daemon/executor.h"
#include "daemon/log.h"
#include "daemon/schedule.h"

struct store_ops;

#define POOLS_MAX     32
#define POOL_NAME_MAX 31
#define WORKERS_MAX   256 /* of one pool */
#define OPERATORS_MAX 32
#define RESOURCES_MAX 64
#define RESOURCE_NAME_MAX 63

struct pool_config {
	char name[POOL_NAME_MAX + 1];
	const struct executor *executor;
	unsigned workers; /* 1 .. WORKERS_MAX; default by executor */
	unsigned concurrency; /* jobs at once per worker; default by executor */
	uint64_t grace_ns; /* TERM .. KILL of a command; default 2s */
	uint64_t output_cap; /* bytes of stdout and of stderr kept per job; default 1 MiB */
	uint64_t address_space; /* RLIMIT_AS of the worker, bytes; 0: none */
	enum link_way link; /* how records travel to its workers; default ring */
	bool bind; /* executor process: a CPU for each worker, while there are enough; default yes */
	uint64_t recycle_jobs; /* a worker is replaced after so many; 0: never */
	uint64_t recycle_growth; /* ... when it has grown by so many bytes; 0: never */
	const struct strategy *strategy; /* which job is next; default priority */
	uint64_t ageing_ns; /* waiting so long counts as one priority; 0: not at all; default 1m */
	unsigned restart_max; /* deaths without progress ... default 5 */
	uint64_t restart_window_ns; /* ... within this, and the pool has failed; default 10s */
};

/* Something that jobs share, such as connections to a database: --need NAME=N. */
struct resource_config {
	char name[RESOURCE_NAME_MAX + 1];
	uint64_t limit; /* units that jobs have at once */
};

struct config {
	/* [daemon] */
	uint64_t drain_deadline_ns; /* SIGTERM: how long running jobs may go on; default 30s */
	uint64_t orphan_grace_ns; /* running jobs of a lost broker, before their worker is
				     killed; default 30s */
	unsigned max_clients; /* default 256 */
	uint64_t max_jobs; /* in the table; default 1200000 */
	uint64_t max_job_bytes; /* parameters in the table; default 512 MiB */
	uint64_t max_client_jobs; /* of one client; default 1048576 */
	unsigned socket_mode; /* default 0660 with a group, else 0600 */
	char group[64]; /* its members may submit; default "pyprep" when the daemon runs as
			   user pyprep, else "" */
	char operators[OPERATORS_MAX][32]; /* user names that may do all */
	unsigned operator_count;
	bool zmq_lane; /* clients may come through ZeroMQ; default no */
	uint64_t zmq_idle_ns; /* silence after which one that names no process is let go; default 60s */
	const struct store_ops *store; /* of detached jobs and history; default sqlite */
	uint64_t store_keep_ns; /* ended jobs stay in it so long; default 168h; 0: no limit ... */
	uint64_t store_bytes; /* ... while it is smaller than this; default 1 GiB; 0: no limit */
	enum log_format log_format; /* of the daemon's own lines; default auto */
	bool cgroups; /* memory limits of commands by cgroups, where there are any; default yes */
	char scratch_dir[512]; /* of jobs; "": scratch in the runtime directory */
	bool drop_to_client; /* root's daemon: commands of other users run as them */
	uint64_t cache_entries; /* results kept for --cache; 0: none */
	uint64_t cache_bytes; /* ... all together */
	/* pools, in the order of the file */
	struct pool_config pools[POOLS_MAX];
	unsigned pool_count;
	struct resource_config resources[RESOURCES_MAX];
	unsigned resource_count;
};

/* The built-in configuration: pools cpu, io, threads, shell. */
void config_default(struct config *c);

/* Read `path` over the defaults; pools in it replace the built-in ones.  0, or -EINVAL /
 * -errno with one sentence in `why`:
 *   FILE:LINE: unknown key "worker" in [pool "cpu"]; did you mean "workers"? */
int config_load(struct config *c, const char *path, char *why, size_t why_size);

/* Write the whole of `c` as a file that config_load() reads back to the same. */
void config_print(const struct config *c, FILE *out);

/* CPUs this process may use: affinity and cgroup quota (v1 and v2), at least 1. */
unsigned config_cpus(void);

/* The nearest of `names` to `name` for "did you mean", or NULL when none is near. */
const char *nearest_name(const char *name, const char *const *names, size_t count);

/* Directories, by the rules of pyprepd(8).  `given` may be NULL.  0 or -errno with `why`. */
int path_runtime_dir(const char *given, char *buffer, size_t size, char *why, size_t why_size);
int path_state_dir(char *buffer, size_t size, char *why, size_t why_size);

/* Make the directory, and those above it that are missing.  0 or -errno. */
int path_make_dir(const char *directory, mode_t mode);

#endif
