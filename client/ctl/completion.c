/* completion.c - pyprepctl completion: scripts for shells, written from the tables. */
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/report.h"

/* Names that only the daemon knows are asked for, and given up after 200 ms. */
static const char *
live_words(const struct command *command)
{
	switch (command->complete) {
	case COMPLETE_KIND:
		return "$(timeout 0.2 pyprepctl kinds -q 2>/dev/null)";
	case COMPLETE_JOB:
		return "$(timeout 0.2 pyprepctl ls -q 2>/dev/null)";
	case COMPLETE_COMMAND:
		return "$verbs";
	case COMPLETE_WORDS:
		return command->choices;
	case COMPLETE_NOTHING:
		break;
	}
	return "";
}

static void
print_option_words(const struct option_row *row)
{
	for (; row && row->type != OPTION_END; row++) {
		printf(" --%s", row->name);
		if (row->letter)
			printf(" -%c", row->letter);
	}
}

/* "a|b|c" as "a b c". */
static void
print_choices(const char *choices)
{
	for (; *choices; choices++)
		putchar(*choices == '|' ? ' ' : *choices);
}

/* What the value of the option before the cursor may be, as case branches of a shell. */
static void
print_value_cases(const struct option_row *row)
{
	for (; row && row->type != OPTION_END; row++) {
		if (row->type == OPTION_CHOICE) {
			printf("\t\t--%s) offers=\"", row->name);
			print_choices(row->value);
			printf("\" ;;\n");
		} else if (strcmp(row->name, "pool") == 0) {
			printf("\t\t--pool|-p) offers=\"$(timeout 0.2 pyprepctl pools -q "
			       "2>/dev/null)\" ;;\n");
		} else if (strcmp(row->name, "after") == 0) {
			printf("\t\t--after) offers=\"$(timeout 0.2 pyprepctl ls -q "
			       "2>/dev/null)\" ;;\n");
		}
	}
}

static void
print_commands(void)
{
	for (const struct command *const *c = commands; *c; c++)
		printf("%s%s", c == commands ? "" : " ", (*c)->name);
}

/* The body that bash and zsh share: sets `offers` from $command and $previous. */
static void
print_cases(void)
{
	printf("\tcase $command in\n");
	for (const struct command *const *c = commands; *c; c++) {
		printf("\t%s)\n\t\toffers=\"%s", (*c)->name, live_words(*c));
		print_option_words((*c)->options);
		print_option_words(global_options);
		printf("\"\n\t\tcase $previous in\n");
		print_value_cases((*c)->options);
		print_value_cases(global_options);
		printf("\t\tesac ;;\n");
	}
	printf("\t*)\n\t\toffers=\"$verbs");
	print_option_words(global_options);
	printf("\" ;;\n\tesac\n");
}

static void
print_bash(void)
{
	printf("# bash completion for pyprepctl; made by: pyprepctl completion bash\n"
	       "_pyprepctl()\n{\n\tlocal verbs=\"");
	print_commands();
	printf("\"\n\tlocal command=\"${COMP_WORDS[1]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
	       "\tlocal current=\"${COMP_WORDS[COMP_CWORD]}\" offers=\n"
	       "\t((COMP_CWORD == 1)) && command=\n");
	print_cases();
	printf("\tCOMPREPLY=($(compgen -W \"$offers\" -- \"$current\"))\n}\n"
	       "complete -o default -F _pyprepctl pyprepctl\n");
}

static void
print_zsh(void)
{
	printf("#compdef pyprepctl\n"
	       "# zsh completion for pyprepctl; made by: pyprepctl completion zsh\n"
	       "_pyprepctl()\n{\n\tlocal verbs=\"");
	print_commands();
	printf("\"\n\tlocal command=\"${words[2]}\" previous=\"${words[CURRENT-1]}\"\n"
	       "\t((CURRENT == 2)) && command=\n"
	       "\tlocal offers=\n");
	print_cases();
	printf("\tlocal -a list=(${=offers})\n"
	       "\tcompadd -a list\n}\n"
	       "if [ \"$funcstack[1]\" = _pyprepctl ]; then\n\t_pyprepctl \"$@\"\n"
	       "else\n\tcompdef _pyprepctl pyprepctl\nfi\n");
}

/* Text between single quotes of fish. */
static void
print_quoted(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void
print_fish_options(const char *condition, const struct option_row *row)
{
	for (; row && row->type != OPTION_END; row++) {
		printf("complete -c pyprepctl%s -l %s", condition, row->name);
		if (row->letter)
			printf(" -s %c", row->letter);
		if (row->type != OPTION_FLAG)
			printf(" -x");
		if (row->type == OPTION_CHOICE) {
			printf(" -a \"");
			print_choices(row->value);
			printf("\"");
		} else if (strcmp(row->name, "pool") == 0) {
			printf(" -a \"(timeout 0.2 pyprepctl pools -q 2>/dev/null)\"");
		} else if (strcmp(row->name, "after") == 0) {
			printf(" -a \"(timeout 0.2 pyprepctl ls -q 2>/dev/null)\"");
		}
		printf(" -d ");
		print_quoted(row->help);
		putchar('\n');
	}
}

static const char *
fish_words(const struct command *command)
{
	switch (command->complete) {
	case COMPLETE_KIND:
		return "(timeout 0.2 pyprepctl kinds -q 2>/dev/null)";
	case COMPLETE_JOB:
		return "(timeout 0.2 pyprepctl ls -q 2>/dev/null)";
	case COMPLETE_WORDS:
		return command->choices;
	case COMPLETE_COMMAND:
	case COMPLETE_NOTHING:
		break;
	}
	return NULL;
}

static void
print_fish(void)
{
	char condition[120];

	printf("# fish completion for pyprepctl; made by: pyprepctl completion fish\n"
	       "complete -c pyprepctl -f\n");
	print_fish_options("", global_options);
	for (const struct command *const *c = commands; *c; c++) {
		printf("complete -c pyprepctl -n __fish_use_subcommand -a %s -d ", (*c)->name);
		print_quoted((*c)->summary);
		putchar('\n');
		snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %s'",
			 (*c)->name);
		if (fish_words(*c))
			printf("complete -c pyprepctl%s -a \"%s\"\n", condition, fish_words(*c));
		print_fish_options(condition, (*c)->options);
	}
}

static int
completion_run(const struct words *words)
{
	static const struct {
		const char *shell;
		void (*print)(void);
	} shells[] = { { "bash", print_bash }, { "zsh", print_zsh }, { "fish", print_fish } };

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage", "completion takes bash, zsh or fish");
	for (unsigned i = 0; i < sizeof shells / sizeof shells[0]; i++) {
		if (strcmp(shells[i].shell, words->word[0]) == 0) {
			shells[i].print();
			return 0;
		}
	}
	return ctl_fail(EXIT_USAGE, "usage", "completion takes bash, zsh or fish, not '%s'",
			words->word[0]);
}

extern const struct command command_completion;
const struct command command_completion = {
	.name = "completion",
	.args = "bash|zsh|fish",
	.summary = "print a completion script for a shell",
	.examples = "  source <(pyprepctl completion bash)\n"
		    "  pyprepctl completion fish > ~/.config/fish/completions/pyprepctl.fish\n",
	.complete = COMPLETE_WORDS,
	.choices = "bash zsh fish",
	.run = completion_run,
};
