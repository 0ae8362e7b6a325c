/* drill_room.c - drills disk-full and fd-exhaustion: there is no room, and then there is again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/ctl/drill.h"
#include "client/ctl/drill_load.h"
#include "ipc/clock.h"

#define DISK_OPTIONS "size=24m,mode=0700"
#define RECOVER_NS   (30 * NS_PER_S)
#define IDLERS       64
#define SPARE_FDS    8

/* ---- disk-full ---- */

/* The state directory on a disk of 24 MB that nobody else sees. */
static int
small_disk(struct drill *d)
{
	char path[300];

	snprintf(path, sizeof path, "%s/state", d->daemon.directory);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("drill", path, "tmpfs", 0, DISK_OPTIONS) < 0)
		return demo_fail(d->demo,
				 "cannot mount a small disk: %s; this drill needs root (or "
				 "CAP_SYS_ADMIN)",
				 strerror(errno));
	return 0;
}

static void
filling_path(const struct drill *d, char *path, size_t size)
{
	snprintf(path, size, "%s/state/filling", d->daemon.directory);
}

/* Take all that is left. */
static void
fill_up(const struct drill *d)
{
	static const char block[4096];
	char path[320];

	filling_path(d, path, sizeof path);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	while (fd >= 0 && write(fd, block, sizeof block) > 0)
		;
	if (fd >= 0)
		close(fd);
}

struct round {
	unsigned rounds, refused, went_on, recovered;
};

static void
fill_once(struct drill *d, struct round *sum)
{
	char path[320];
	uint64_t refused = d->refused, end_ns = clock_now() + RECOVER_NS;

	sum->rounds++;
	while (d->refused == refused && clock_now() < end_ns) {
		fill_up(d); /* again: the log of the store shrinks now and then */
		drill_work(d, clock_now() + 50 * NS_PER_MS);
	}
	sum->refused += d->refused > refused;
	uint64_t back = d->attached_back;
	drill_work(d, clock_now() + 300 * NS_PER_MS);
	sum->went_on += d->attached_back > back && d->attached_lost == 0;
	filling_path(d, path, sizeof path);
	unlink(path);
	uint64_t acknowledged = d->acknowledged;
	d->fault_ns = 0;
	uint64_t begun_ns = clock_now();
	while (d->acknowledged == acknowledged && clock_now() < begun_ns + RECOVER_NS)
		drill_work(d, clock_now() + 5 * NS_PER_MS);
	if (d->acknowledged == acknowledged)
		return;
	sum->recovered++;
	if (d->recoveries < DRILL_RECOVERIES)
		d->recovered_us[d->recoveries++] = (uint32_t)((clock_now() - begun_ns) / NS_PER_US);
	drill_work(d, clock_now() + 300 * NS_PER_MS);
}

int
drill_disk_full(struct demo *demo)
{
	static struct drill d;
	struct round sum = { 0 };

	d.prepare = small_disk;
	if (drill_begin(&d, demo) < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	drill_work(&d, clock_now() + 300 * NS_PER_MS);
	while (clock_now() < end_ns)
		fill_once(&d, &sum);
	demo_figure(demo, "full", sum.rounds, "", "times the disk was full");
	demo_check(demo, sum.refused == sum.rounds,
		   "detached submits were refused while it was full (%u of %u times)", sum.refused,
		   sum.rounds);
	demo_check(demo, sum.went_on == sum.rounds, "attached jobs went on (%u of %u)", sum.went_on,
		   sum.rounds);
	demo_check(demo, sum.recovered == sum.rounds,
		   "detached jobs were taken again when there was room (%u of %u)", sum.recovered,
		   sum.rounds);
	int r = drill_judge(&d);
	drill_end(&d);
	return r;
}

/* ---- fd-exhaustion ---- */

static unsigned
count_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static double
cpu_seconds(pid_t pid)
{
	char path[64];
	unsigned long user = 0, system = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f) {
		/* The name has no blanks in it that would shift the fields: "(pyprepd)". */
		if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			   &user, &system) != 2)
			user = system = 0;
		fclose(f);
	}
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int
idle_client(const struct drill *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%.80s/pyprepd.sock",
		 d->daemon.runtime);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Does a new client get through? */
static bool
can_come(struct drill *d)
{
	uint64_t end_ns = clock_now() + RECOVER_NS;
	struct bench_status status;

	while (clock_now() < end_ns) {
		if (drill_status(d, &status))
			return true;
		drill_work(d, clock_now() + 20 * NS_PER_MS);
	}
	return false;
}

/* More clients than descriptors: those that are there work on, and the broker sleeps in between. */
static void
exhaust_once(struct drill *d, pid_t broker, struct round *sum, double *most_cpu)
{
	int fds[IDLERS];

	struct rlimit limit = { count_fds(broker) + SPARE_FDS, count_fds(broker) + SPARE_FDS };
	struct rlimit wide;
	if (prlimit(broker, RLIMIT_NOFILE, NULL, &wide) < 0)
		return;
	limit.rlim_max = wide.rlim_max;
	(void)prlimit(broker, RLIMIT_NOFILE, &limit, NULL);
	sum->rounds++;
	for (int i = 0; i < IDLERS; i++)
		fds[i] = idle_client(d);
	uint64_t back = d->attached_back;
	drill_work(d, clock_now() + 200 * NS_PER_MS);
	sum->went_on += d->attached_back > back && d->attached_lost == 0;
	/* Without work of ours: what does it do by itself? */
	double cpu = cpu_seconds(broker);
	uint64_t quiet_ns = clock_now();
	while (clock_now() - quiet_ns < 500 * NS_PER_MS)
		usleep(10000);
	cpu = (cpu_seconds(broker) - cpu) / ((double)(clock_now() - quiet_ns) / 1e9);
	*most_cpu = cpu > *most_cpu ? cpu : *most_cpu;
	for (int i = 0; i < IDLERS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	sum->recovered += can_come(d);
	(void)prlimit(broker, RLIMIT_NOFILE, &wide, NULL);
}

int
drill_fd_exhaustion(struct demo *demo)
{
	static struct drill d;
	struct bench_status status;
	struct round sum = { 0 };
	double cpu = 0;

	if (drill_begin(&d, demo) < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	drill_work(&d, clock_now() + 300 * NS_PER_MS);
	while (clock_now() < end_ns) {
		if (drill_status(&d, &status))
			exhaust_once(&d, status.broker, &sum, &cpu);
		drill_work(&d, clock_now() + 100 * NS_PER_MS);
	}
	demo_figure(demo, "exhausted", sum.rounds, "",
		    "times 64 clients came where there was room for 8");
	demo_figure(demo, "cpu", cpu, "x", "... of a CPU the broker took meanwhile, at most");
	demo_check(demo, sum.went_on == sum.rounds, "clients that were there worked on (%u of %u)",
		   sum.went_on, sum.rounds);
	demo_check(demo, sum.recovered == sum.rounds,
		   "others could come when those had gone (%u of %u)", sum.recovered, sum.rounds);
	demo_check(demo, cpu < 0.5, "the broker slept instead of trying all the time");
	int r = drill_judge(&d);
	drill_end(&d);
	return r;
}
