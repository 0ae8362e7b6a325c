/* jobspec.c - the command line's words as a job. */
#include "client/ctl/jobspec.h"

#include <stdlib.h>
#include <string.h>

#include "client/ctl/report.h"

static bool
is_exec(const char *kind)
{
	return strcmp(kind, "exec") == 0;
}

static int
check_words(const struct words *words, const struct job_options *options)
{
	const char *kind = words->count > 0 ? words->word[0] : NULL;

	if (!kind && words->rest_given)
		return ctl_fail(EXIT_USAGE, "usage",
				"the kind is missing before --; to run a command: exec -- %s",
				words->rest_count > 0 ? words->rest[0] : "CMD ARGS");
	if (!kind)
		return ctl_fail(EXIT_USAGE, "usage",
				"the kind of the job is missing; 'pyprepctl kinds' lists them");
	if (is_exec(kind) && words->rest_count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"exec takes its command after --, for example: exec -- %s",
				words->count > 1 ? words->word[1] : "make -j2");
	if (!is_exec(kind) && words->rest_given)
		return ctl_fail(EXIT_USAGE, "usage",
				"only exec takes a command after --; %s takes name=value", kind);
	if (!is_exec(kind) && options->shell)
		return ctl_fail(EXIT_USAGE, "usage", "--shell is for exec, not for %s", kind);
	for (int i = 1; i < words->count; i++) {
		const char *equals = strchr(words->word[i], '=');
		if (!equals || equals == words->word[i])
			return ctl_fail(EXIT_USAGE, "usage",
					"'%s' is not name=value; see 'pyprepctl kinds %s'",
					words->word[i], kind);
	}
	return 0;
}

static char *
join(char **word, int count)
{
	size_t length = 1, at = 0;

	for (int i = 0; i < count; i++)
		length += strlen(word[i]) + 1;
	char *line = ctl_alloc(length, 1);
	for (int i = 0; i < count; i++)
		at += (size_t)sprintf(line + at, "%s%s", i > 0 ? " " : "", word[i]);
	return line;
}

static void
set_command(const struct words *words, const struct job_options *options, struct jobspec *spec)
{
	spec->shell_line = join(words->rest, words->rest_count);
	snprintf(spec->args_text, sizeof spec->args_text, "-- %s", spec->shell_line);
	if (!options->shell) {
		spec->job.argv = (const char *const *)words->rest;
		return;
	}
	spec->shell_argv[0] = "/bin/sh";
	spec->shell_argv[1] = "-c";
	spec->shell_argv[2] = spec->shell_line;
	spec->job.argv = spec->shell_argv;
}

int
jobspec_make(const struct words *words, const struct job_options *options, struct jobspec *ret)
{
	int status = check_words(words, options);
	if (status != 0)
		return status;
	*ret = (struct jobspec){ 0 };
	status = policy_options_read(&options->policy, &ret->policy);
	if (status != 0) {
		policy_spec_free(&ret->policy);
		return status;
	}
	ret->params = ctl_alloc((size_t)words->count + 1, sizeof *ret->params);
	for (int i = 1; i < words->count; i++)
		ret->params[i - 1] = words->word[i];
	char *text = join(words->word + 1, words->count - 1);
	snprintf(ret->args_text, sizeof ret->args_text, "%s", text);
	free(text);
	ret->job = (struct pyprep_job){
		.kind = words->word[0],
		.pool = options->pool,
		.params = ret->params,
		.priority = (int)options->priority,
		.timeout_ns = options->timeout_ns,
		.flags = options->no_wait ? PYPREP_NO_WAIT : 0,
		.policy = ret->policy.given ? &ret->policy.policy : NULL,
	};
	if (words->rest_count > 0)
		set_command(words, options, ret);
	return 0;
}

void
jobspec_free(struct jobspec *spec)
{
	policy_spec_free(&spec->policy);
	free(spec->params);
	free(spec->shell_line);
}
