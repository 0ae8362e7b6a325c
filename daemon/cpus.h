/*
 * cpus.h - how much CPU the control groups above this process allow.
 */
#ifndef PYPREP_DAEMON_CPUS_H
#define PYPREP_DAEMON_CPUS_H

/* CPUs by quota (cgroup v1 and v2), rounded up, the smallest on the way from this process's
 * group to the root; 0: no quota.  `root` is put before every path ("" on a real system). */
unsigned cpus_quota(const char *root);

#endif
