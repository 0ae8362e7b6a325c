/*
 * main.c - pyprepd: options and configuration; then this process is the supervisor.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/kind.h"
#include "daemon/log.h"
#include "daemon/roles.h"
#include "daemon/store_check.h"
#include "daemon/title.h"

static const char usage[] =
	"usage: pyprepd [--config FILE] [--runtime-dir DIR] [--log-format FORM] [--check-config]\n"
	"       pyprepd --check-store | --repair-store [--json]\n"
	"       pyprepd --version | --help\n"
	"\n"
	"Run jobs on pools of worker processes; stays in the foreground.\n"
	"\n"
	"  --config FILE      configuration, see pyprepd.conf(5); default $PYPREP_CONFIG, else\n"
	"                     /etc/pyprep/pyprepd.conf if it is there, else built in\n"
	"  --runtime-dir DIR  where the socket is made; default $PYPREP_RUNTIME_DIR, else\n"
	"                     /run/pyprep for root, $XDG_RUNTIME_DIR/pyprep for a user\n"
	"  --log-format FORM  of its lines: auto, text, logfmt, json or journal; default\n"
	"                     $PYPREP_LOG_FORMAT, else log_format of the configuration\n"
	"  --check-config     read the configuration, print it in full, and exit\n"
	"  --check-store      look at the whole store in $PYPREP_STATE_DIR (else\n"
	"                     /var/lib/pyprep for root, $XDG_STATE_HOME/pyprep for a user), and "
	"exit:\n"
	"                     0 it is whole, 65 it is damaged, 75 a daemon uses it\n"
	"  --repair-store     put what can be read of it into a new one; the old one is kept\n"
	"  --json             of these two: one JSON object\n"
	"  --version, --help\n"
	"\n"
	"SIGTERM: running jobs finish, then it ends; a second one ends at once.  SIGHUP: read\n"
	"the configuration again.  Talk to it with pyprepctl(1).\n";

#define SYSTEM_CONFIG "/etc/pyprep/pyprepd.conf"

struct options {
	const char *config, *runtime_dir, *log_format;
	bool check, check_store, repair_store, json;
};

/* Returns -1 to go on, else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	enum {
		CONFIG = 256,
		RUNTIME_DIR,
		LOG_FORMAT,
		CHECK,
		CHECK_STORE,
		REPAIR_STORE,
		JSON,
		VERSION,
		HELP
	};
	static const struct option table[] = {
		{ "config", required_argument, NULL, CONFIG },
		{ "runtime-dir", required_argument, NULL, RUNTIME_DIR },
		{ "log-format", required_argument, NULL, LOG_FORMAT },
		{ "check-config", no_argument, NULL, CHECK },
		{ "check-store", no_argument, NULL, CHECK_STORE },
		{ "repair-store", no_argument, NULL, REPAIR_STORE },
		{ "json", no_argument, NULL, JSON },
		{ "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, HELP },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (c) {
		case CONFIG:
			o->config = optarg;
			break;
		case RUNTIME_DIR:
			o->runtime_dir = optarg;
			break;
		case LOG_FORMAT:
			o->log_format = optarg;
			break;
		case CHECK:
			o->check = true;
			break;
		case CHECK_STORE:
			o->check_store = true;
			break;
		case REPAIR_STORE:
			o->repair_store = true;
			break;
		case JSON:
			o->json = true;
			break;
		case VERSION:
			printf("pyprepd %s\n", PYPREP_VERSION);
			return EXIT_SUCCESS;
		case HELP:
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fputs("try: pyprepd --help\n", stderr);
			return 2;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "pyprepd: unexpected argument \"%s\"; try: pyprepd --help\n", argv[optind]);
	return 2;
}

static const char *
config_file(const struct options *o)
{
	const char *path = o->config != NULL ? o->config : getenv("PYPREP_CONFIG");

	if (path != NULL)
		return path;
	return access(SYSTEM_CONFIG, F_OK) == 0 ? SYSTEM_CONFIG : NULL;
}

/* As the option says, else the environment; true when either did.  -1: the option is wrong. */
static int
choose_log_format(const struct options *o)
{
	const char *variable = getenv("PYPREP_LOG_FORMAT");
	enum log_format format;

	if (o->log_format != NULL) {
		if (!log_format_by_name(o->log_format, &format)) {
			fprintf(stderr,
				"pyprepd: --log-format \"%s\" is none; expected auto, text, "
				"logfmt, json "
				"or journal\n",
				o->log_format);
			return -1;
		}
		log_format(format);
		return true;
	}
	if (variable == NULL || *variable == '\0')
		return false;
	if (!log_format_by_name(variable, &format)) {
		log_warn("PYPREP_LOG_FORMAT is \"%s\"; expected auto, text, logfmt, json or "
			 "journal; "
			 "going on without it",
			 variable);
		return false;
	}
	log_format(format);
	return true;
}

/* `--check-store`, `--repair-store`: no daemon is begun. */
static int
look_at_store(const struct options *o)
{
	char state_dir[512], why[512];

	if (o->check_store && o->repair_store) {
		fputs("pyprepd: --check-store and --repair-store: expected one of them\n", stderr);
		return 2;
	}
	if (path_state_dir(state_dir, sizeof(state_dir), why, sizeof(why)) < 0) {
		log_error("%s", why);
		return EX_CONFIG;
	}
	return o->check_store ? store_check_main(state_dir, o->json)
			      : store_repair_main(state_dir, o->json);
}

int
main(int argc, char **argv)
{
	static struct config config;
	static char runtime_dir[512], state_dir[512];
	struct options o = { 0 };
	char why[512];

	title_init(argc, argv);
	log_open("supervisor", LOG_LEVEL_INFO);
	int status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	int chosen = choose_log_format(&o);
	if (chosen < 0)
		return 2;
	if (o.check_store || o.repair_store)
		return look_at_store(&o);
	if (o.json) {
		fputs("pyprepd: --json goes with --check-store or --repair-store\n", stderr);
		return 2;
	}
	if (kinds_check(why, sizeof(why)) < 0) {
		log_error("%s", why);
		return EX_SOFTWARE;
	}
	const char *path = config_file(&o);
	config_default(&config);
	if (path != NULL && config_load(&config, path, why, sizeof(why)) < 0) {
		log_error("%s", why);
		return EX_CONFIG;
	}
	if (!chosen)
		log_format(config.log_format);
	if (o.check) {
		config_print(&config, stdout);
		return EXIT_SUCCESS;
	}
	if (path_runtime_dir(o.runtime_dir, runtime_dir, sizeof(runtime_dir), why, sizeof(why)) <
		    0 ||
	    path_state_dir(state_dir, sizeof(state_dir), why, sizeof(why)) < 0) {
		log_error("%s", why);
		return EX_CONFIG;
	}
	return supervisor_main(&config, path, runtime_dir, state_dir);
}
