/*
 * cpus.c - how many CPUs this process may use: the affinity mask and the quota of its
 * control groups, whichever is less.  A quota of 1.5 CPUs counts as 2: a pool of one
 * worker could not use it up.
 */
#include "daemon/cpus.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ipc/cleanup.h"

#define MASK_CPUS_MAX (1 << 16)

static unsigned
cpus_affinity(void)
{
	/* The kernel says EINVAL to a mask shorter than its own. */
	for (int cpus = 1024; cpus <= MASK_CPUS_MAX; cpus *= 2) {
		cpu_set_t *set = CPU_ALLOC((size_t)cpus);
		size_t size = CPU_ALLOC_SIZE((size_t)cpus);
		if (set == NULL)
			break;
		int r = sched_getaffinity(0, size, set);
		int error = errno;
		unsigned count = r < 0 ? 0 : (unsigned)CPU_COUNT_S(size, set);
		CPU_FREE(set);
		if (r == 0)
			return count;
		if (error != EINVAL)
			break;
	}
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	return online < 1 ? 1 : (unsigned)online;
}

/* Read the first line of a small file.  false: there is none. */
static bool
read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	bool ok = fgets(line, (int)size, f) != NULL;
	fclose(f);
	return ok;
}

/* quota / period of one group, rounded up; 0: none. */
static unsigned
quota_of_group(const char *directory, bool v2)
{
	char path[PATH_MAX + 32], line[128];
	long long quota = 0, period = 0;

	if (v2) {
		snprintf(path, sizeof(path), "%s/cpu.max", directory);
		if (!read_line(path, line, sizeof(line)) ||
		    sscanf(line, "%lld %lld", &quota, &period) != 2) /* "max 100000" */
			return 0;
	} else {
		snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", directory);
		if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld", &quota) != 1)
			return 0; /* -1: none */
		snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", directory);
		if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld", &period) != 1)
			return 0;
	}
	if (quota <= 0 || period <= 0)
		return 0;
	long long cpus = quota / period + (quota % period != 0);
	return cpus > MASK_CPUS_MAX ? MASK_CPUS_MAX : (unsigned)cpus;
}

/* The smallest quota from `group` (a path below `mount`) up to the mount itself. */
static unsigned
quota_upwards(const char *mount, const char *group, bool v2)
{
	char directory[PATH_MAX];
	unsigned least = 0;
	size_t mount_length = strlen(mount);

	int n = snprintf(directory, sizeof(directory), "%s%s", mount, group);
	if (n < 0 || (size_t)n >= sizeof(directory))
		return 0;
	for (;;) {
		unsigned cpus = quota_of_group(directory, v2);
		if (cpus > 0 && (least == 0 || cpus < least))
			least = cpus;
		char *slash = strrchr(directory, '/');
		if (slash == NULL || (size_t)(slash - directory) < mount_length)
			return least;
		*slash = '\0';
	}
}

/* Does the comma list `list` hold the word `cpu`? */
static bool
has_cpu(const char *list)
{
	for (;;) {
		size_t length = strcspn(list, ",");
		if (length == 3 && strncmp(list, "cpu", 3) == 0)
			return true;
		if (list[length] == '\0')
			return false;
		list += length + 1;
	}
}

/* This process's group in the v2 tree, or in the v1 tree of the cpu controller. */
static bool
own_group(const char *root, bool v2, char *group, size_t size)
{
	char path[PATH_MAX], line[PATH_MAX + 256];
	bool found = false;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), f)) { /* 4:cpu,cpuacct:/a/b */
		line[strcspn(line, "\n")] = '\0';
		char *controllers = strchr(line, ':');
		char *name = controllers ? strchr(controllers + 1, ':') : NULL;
		if (name == NULL)
			continue;
		*name++ = '\0';
		controllers++;
		found = v2 ? strncmp(line, "0:", 2) == 0 && *controllers == '\0'
			   : has_cpu(controllers);
		if (found) /* "/../x": the group lies outside our view; look at the top of it */
			snprintf(group, size, "%s", strncmp(name, "/..", 3) == 0 ? "" : name);
	}
	fclose(f);
	if (found && strcmp(group, "/") == 0)
		group[0] = '\0';
	return found;
}

/* Where that tree is mounted, and which group its mount shows as its top. */
static bool
find_mount(const char *root, bool v2, char *mount, char *top, size_t size)
{
	char path[PATH_MAX], point[PATH_MAX], type[32], options[512];
	scoped_free char *line = NULL;
	size_t capacity = 0;
	bool found = false;

	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	while (!found && getline(&line, &capacity, f) > 0) {
		const char *rest = strstr(line, " - ");
		char shown[PATH_MAX];
		if (rest == NULL || sscanf(line, "%*s %*s %*s %4095s %4095s", shown, point) != 2 ||
		    sscanf(rest, " - %31s %*s %511s", type, options) != 2)
			continue;
		found = v2 ? strcmp(type, "cgroup2") == 0
			   : strcmp(type, "cgroup") == 0 && has_cpu(options);
		if (found) {
			snprintf(mount, size, "%s%s", root, point);
			snprintf(top, size, "%s", strcmp(shown, "/") == 0 ? "" : shown);
		}
	}
	fclose(f);
	return found;
}

static unsigned
quota_of_tree(const char *root, bool v2)
{
	char group[PATH_MAX], mount[PATH_MAX], top[PATH_MAX];
	const char *below;

	if (!own_group(root, v2, group, sizeof(group)) ||
	    !find_mount(root, v2, mount, top, sizeof(mount)))
		return 0;
	/* A container's mount may show only its own group, by the name it has outside. */
	size_t length = strlen(top);
	if (strncmp(group, top, length) == 0 && (group[length] == '/' || group[length] == '\0'))
		below = group + length;
	else
		below = "";
	return quota_upwards(mount, below, v2);
}

unsigned
cpus_quota(const char *root)
{
	unsigned v1 = quota_of_tree(root, false), v2 = quota_of_tree(root, true);

	if (v1 == 0 || v2 == 0)
		return v1 + v2;
	return v1 < v2 ? v1 : v2;
}

unsigned
config_cpus(void)
{
	unsigned cpus = cpus_affinity(), quota = cpus_quota("");

	if (quota > 0 && quota < cpus)
		cpus = quota;
	return cpus < 1 ? 1 : cpus;
}
