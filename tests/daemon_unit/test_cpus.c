/* test_cpus.c - CPU quotas of control groups, in made-up trees. */
#include <criterion/criterion.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/cpus.h"
#include "tests/helpers.h"

static char root[128];

#define V2_MOUNT "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
#define V1_MOUNT                                                                       \
	"30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"                            \
	"33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n" \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"

/* Write root/`path`, with the directories above it. */
static void
put(const char *path, const char *text)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s/%s", root, path);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(whole, 0700);
		*slash = '/';
	}
	FILE *f = fopen(whole, "w");
	cr_assert_not_null(f, "%s", whole);
	fputs(text, f);
	fclose(f);
}

static void
setup(void)
{
	test_dir_make(root, sizeof(root));
}

static void
teardown(void)
{
	test_dir_remove(root);
}

TestSuite(cpus, .init = setup, .fini = teardown, .timeout = 600);

Test(cpus, no_proc_means_no_quota)
{
	cr_assert_eq(cpus_quota(root), 0u);
}

Test(cpus, v2_quota_is_rounded_up)
{
	put("proc/self/cgroup", "0::/a/b\n");
	put("proc/self/mountinfo", V2_MOUNT);
	put("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
	cr_assert_eq(cpus_quota(root), 2u);
	put("sys/fs/cgroup/a/b/cpu.max", "10000 100000\n");
	cr_assert_eq(cpus_quota(root), 1u);
	put("sys/fs/cgroup/a/b/cpu.max", "300000 100000\n");
	cr_assert_eq(cpus_quota(root), 3u);
	put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	cr_assert_eq(cpus_quota(root), 0u);
}

Test(cpus, v2_the_smallest_group_on_the_way_up_counts)
{
	put("proc/self/cgroup", "0::/a/b\n");
	put("proc/self/mountinfo", V2_MOUNT);
	put("sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
	put("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
	cr_assert_eq(cpus_quota(root), 2u);
}

Test(cpus, v2_top_group_of_a_container)
{
	put("proc/self/cgroup", "0::/\n");
	put("proc/self/mountinfo", V2_MOUNT);
	put("sys/fs/cgroup/cpu.max", "400000 100000\n");
	cr_assert_eq(cpus_quota(root), 4u);
	put("proc/self/cgroup", "0::/../../other\n");
	cr_assert_eq(cpus_quota(root), 4u);
}

Test(cpus, v1_quota_of_the_cpu_controller)
{
	put("proc/self/cgroup", "5:cpuset:/x\n4:cpuacct:/y\n3:cpu:/a\n0::/\n");
	put("proc/self/mountinfo", V1_MOUNT V2_MOUNT);
	put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n");
	put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
	put("sys/fs/cgroup/cpuacct/y/cpu.cfs_quota_us", "100000\n");
	cr_assert_eq(cpus_quota(root), 3u);
	put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
	cr_assert_eq(cpus_quota(root), 0u);
}

Test(cpus, v1_mount_that_shows_only_the_containers_group)
{
	put("proc/self/cgroup", "3:cpu,cpuacct:/docker/1234/in\n");
	put("proc/self/mountinfo", "32 31 0:29 /docker/1234 /sys/fs/cgroup/cpu,cpuacct rw - cgroup "
				   "cgroup rw,cpu,cpuacct\n");
	put("sys/fs/cgroup/cpu,cpuacct/in/cpu.cfs_quota_us", "100000\n");
	put("sys/fs/cgroup/cpu,cpuacct/in/cpu.cfs_period_us", "50000\n");
	cr_assert_eq(cpus_quota(root), 2u);
}

Test(cpus, nonsense_is_no_quota)
{
	static const char *const words[] = { "",           "x\n",
					     "100000 0\n", "-5 100000\n",
					     "1\n",        "99999999999999999999999 1\n" };

	put("proc/self/cgroup", "nothing here\n0::/a\n");
	put("proc/self/mountinfo", "garbage\n - \n - cgroup2\n" V2_MOUNT);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		put("sys/fs/cgroup/a/cpu.max", words[i]);
		cr_assert(cpus_quota(root) == 0 || cpus_quota(root) == 65536, "%s", words[i]);
	}
}

Test(cpus, affinity_limits)
{
	cpu_set_t one;

	cr_assert_geq(config_cpus(), 1u);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(config_cpus(), 1u);
}
