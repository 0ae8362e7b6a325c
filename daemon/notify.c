/* notify.c - what the service manager is told, and the socket it may have opened for us. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define LISTEN_BACKLOG 256

static void
pools_text(const struct supervisor *s, char *buffer, size_t size)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < s->pool_count; i++)
		failed += s->pools[i].failed;
	snprintf(buffer, size, "%u pools, %u workers%s", s->pool_count, slots_count(s),
		 failed > 0 ? "; a pool has failed, see pyprepctl pools" : "");
}

void
notify_ready(struct supervisor *s)
{
	char text[128];

	pools_text(s, text, sizeof(text));
	sd_notifyf(0, "READY=1\nSTATUS=%s", text);
}

void
notify_status(struct supervisor *s)
{
	char text[128];

	pools_text(s, text, sizeof(text));
	sd_notifyf(0, "STATUS=%s", text);
}

void
notify_reloading(void)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)(clock_now() / NS_PER_US));
}

void
notify_stopping(struct supervisor *s)
{
	sd_notifyf(0, "STOPPING=1\nSTATUS=draining: running jobs have up to %llu s",
		   (unsigned long long)(s->config->drain_deadline_ns / NS_PER_S));
	notify_extend(s->config->drain_deadline_ns + 30 * NS_PER_S);
}

void
notify_extend(uint64_t ns)
{
	sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)(ns / NS_PER_US));
}

void
notify_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

uint64_t
notify_watchdog_ns(void)
{
	uint64_t us = 0;

	/* Three beats pass before a broker that hangs is replaced: all within the time that the
	 * service manager gives us, or it would end the whole service first. */
	return sd_watchdog_enabled(0, &us) > 0 ? us * NS_PER_US / 5 : 0;
}

int
notify_bind(const struct config *config, const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	scoped_fd fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	/* The lock on the runtime directory is ours: what lies there is a dead daemon's. */
	unlink(path);
	mode_t old = umask(0777 & ~config->socket_mode);
	int r = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(old);
	if (r < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	const struct group *g = config->group[0] != '\0' ? getgrnam(config->group) : NULL;
	if (g != NULL && chown(path, (uid_t)-1, g->gr_gid) < 0)
		log_warn("cannot give %s to group %s: %s; its members cannot connect", path,
			 config->group, strerror(errno));
	return take_fd(&fd);
}

int
notify_listener(const struct config *config, const char *path)
{
	int n = sd_listen_fds(1);

	if (n <= 0)
		return notify_bind(config, path, SOCK_SEQPACKET);
	int fd = SD_LISTEN_FDS_START;
	if (n > 1 || sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
		log_error("the service manager gave %d descriptors, expected one listening unix "
			  "socket (ListenSequentialPacket=)",
			  n);
		return -EINVAL;
	}
	evutil_make_socket_nonblocking(fd);
	evutil_make_socket_closeonexec(fd);
	return fd;
}
