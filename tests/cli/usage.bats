#!/usr/bin/env bats
# usage.bats - command lines that are wrong: each with its exit status and its message.
# No daemon is needed.

load helpers

setup() {
	PYPREP_RUNTIME_DIR=$(mktemp -d)
	export PYPREP_RUNTIME_DIR
}

teardown() {
	rmdir "$PYPREP_RUNTIME_DIR"
}

@test "without a command: the help, on stderr, status 2" {
	run bash -c 'pyprepctl 2>/dev/null'
	[ "$status" -eq 2 ]
	[ -z "$output" ]
	says 2 "Usage: pyprepctl"
}

@test "commands: unknown ones are answered with the nearest" {
	says 2 "unknown command 'sumbit'; did you mean 'submit'?" sumbit
	says 2 "unknown command 'stauts'; did you mean 'status'?" stauts
	says 2 "unknown command 'xyzzyplugh'; 'pyprepctl help' lists all" xyzzyplugh
	says 2 "unknown command ''" ""
	says 2 "unknown command 'knds'; did you mean 'kinds'?" help knds
	says 2 "help takes one command, not 2" help run map
}

@test "options: unknown ones are answered with the nearest" {
	says 2 "unknown option --cuont; did you mean --count?" submit --cuont 3 noop
	says 2 "unknown option --jsn; did you mean --json?" status --jsn
	says 2 "unknown option --frobnicate; see pyprepctl ls --help" ls --frobnicate
	says 2 "unknown option --runtimedir; did you mean --runtime-dir?" --runtimedir x status
	says 2 "unknown option --coun; did you mean --count?" submit --coun=3 noop
	says 2 "unknown option -Z; see pyprepctl submit --help" submit -Z noop
	says 2 "a command's own options go after --" run exec make -j2
	says 2 "unknown option -Z; see pyprepctl --help" -Z
}

@test "options: values" {
	says 2 "--count needs a value: --count N" submit noop --count
	says 2 "--runtime-dir needs a value: --runtime-dir DIR" --runtime-dir
	says 2 "--json takes no value, not '1'" status --json=1
	says 2 "--color wants one of auto|always|never, not 'blue'" --color blue status
	says 2 "--units wants one of auto|human|base, not 'ell'" status --units=ell
	says 2 "several with commas between them, not 'gone'" ls --state gone
}

@test "options: numbers" {
	for bad in x 0 -1 1.5 "" " 3" 3x 1000000001 99999999999999999999; do
		says 2 "--count wants a whole number from 1 to 1000000000, not '$bad'" \
			submit noop --count "$bad"
	done
	for bad in 101 -101 high; do
		says 2 "--priority wants a whole number from -100 to 100, not '$bad'" \
			submit noop --priority "$bad"
	done
	says 2 "--limit wants a whole number from 1 to 100000, not '0'" ls --limit 0
}

@test "options: times" {
	for bad in x "" -1 1.2.3 inf nan 0x10 1e3 5d 1w . "1 s" 99999h; do
		says 2 "--timeout wants a time such as 1.5, 500ms, 2s or 1m, not '$bad'" \
			run noop --timeout "$bad"
	done
	says 2 "--wait wants a time such as 1.5, 500ms, 2s or 1m, not 'soon'" ping --wait soon
}

@test "submit and run: kind, parameters, command" {
	for verb in submit run; do
		says 2 "the kind of the job is missing; 'pyprepctl kinds' lists them" $verb
		says 2 "the kind is missing before --; to run a command: exec -- make" $verb -- make
		says 2 "exec takes its command after --, for example: exec -- make -j2" $verb exec
		says 2 "exec takes its command after --, for example: exec -- ls" $verb exec ls
		says 2 "exec takes its command after --" $verb exec --
		says 2 "only exec takes a command after --; noop takes name=value" \
			$verb noop -- make
		says 2 "--shell is for exec, not for noop" $verb --shell noop
		says 2 "'100' is not name=value; see 'pyprepctl kinds sumsq'" $verb sumsq 100
		says 2 "'=5' is not name=value" $verb sumsq =5
		says 2 "'-5' is not name=value" $verb sumsq -5
		says 2 "'-' is not name=value" $verb sumsq -
	done
}

@test "policies: attempts" {
	says 2 "--retries wants a whole number from 0 to 10000, not '-1'" submit noop --retries -1
	for lone in "--backoff const:2s" "--jitter none" "--retry-on exit"; do
		# shellcheck disable=SC2086
		says 2 "${lone%% *} is about further attempts: give --retries N, too" run noop $lone
	done
	for bad in slow exp:x exp:1s..x const const: exp:1s.. EXP:1s; do
		says 2 "--backoff wants exp:FIRST..LONGEST, exp:FIRST or const:WAIT, such as exp:1s..5m, not '$bad'" \
			submit noop --retries 1 --backoff "$bad"
	done
	says 2 "would stay 0 when it is doubled; write const:0" submit noop --retries 1 --backoff exp:0..5s
	says 2 "the first wait is longer than the longest" submit noop --retries 1 --backoff exp:5s..1s
	says 2 "--jitter wants one of none|full, not 'half'" submit noop --retries 1 --jitter half
	for bad in 0 256 x -1 ""; do
		says 2 "--retry-on exit:N wants a status from 1 to 255, not '$bad'" \
			submit noop --retries 1 --retry-on "signal,exit:$bad"
	done
	says 2 "--retry-on: 'timout' is no way to end; did you mean timeout?" \
		submit noop --retries 1 --retry-on exit,timout
	says 2 "--retry-on wants some of exit:N,exit,signal,timeout,worker_died,oom,error, not 'xyzzyplugh'" \
		submit noop --retries 1 --retry-on xyzzyplugh
}

@test "policies: when" {
	for bad in "" noon 24:00 16:60 6:30 2026-11-20 2026-11-20T16 2026-13-01T00:00; do
		says 2 "--at wants a time such as 16:30, 16:30:15, 2026-11-20T16:30:00 or 2026-11-20T16:30:00Z, not '$bad'" \
			submit noop --at "$bad"
	done
	says 2 "--at '2026-02-30T12:00': there is no such time" submit noop --at 2026-02-30T12:00
	says 2 "--delay and --at both say when the job starts; give one of them" \
		submit noop --at 12:00 --delay 5
	says 2 "--delay wants a time such as 1.5, 500ms, 2s or 1m, not 'soon'" submit noop --delay soon
	for bad in x 0 -1 1.5 "" 7,, 7,x; do
		says 2 "--after wants ids of jobs such as 7, 7:any or 7,8:any, not '" submit noop --after "$bad"
	done
	says 2 "behind the id comes :ok (it succeeded) or :any (it ended)" submit noop --after 7:done
	says 2 "--after names job 7 twice" submit noop --after 7,8 --after 7:any
	says 69 "--at 2026-01-01T00:00:00Z was" submit noop --at 2026-01-01T00:00:00Z
}

@test "policies: what it takes" {
	for bad in 5 5/ /1s 0/1s 5/1x -1/1s 5/ x=5/1s fib=5/1s kind:fib=5 1000000001/1s; do
		says 2 "--rate wants N/TIME such as 5/1s, kind:NAME=5/1s or key:NAME=5/1s, not '$bad'" \
			submit noop --rate "$bad"
	done
	for bad in "" =1 gpu=0 gpu= gpu=x gpu=-1; do
		says 2 "--need wants NAME or NAME=N with N from 1, such as gpu=2, not '$bad'" \
			submit noop --need "$bad"
	done
	for bad in "" team =blue; do
		says 2 "--label wants NAME=VALUE such as team=blue, not '$bad'" submit noop --label "$bad"
	done
	for bad in x 12Q 1.5M 512MB -1 ""; do
		says 2 "--memory-limit wants a size such as 65536, 64K, 512M or 2G, not '$bad'" \
			submit noop --memory-limit "$bad"
	done
	says 2 "--memory-limit wants 1M to 64T" submit noop --memory-limit 64K
	says 2 "--nice wants a whole number from 0 to 19, not '20'" submit noop --nice 20
	says 2 "--crash-limit wants a whole number from 1 to 1000, not '0'" submit noop --crash-limit 0
	says 2 "--if-exists says what happens when the key is there: give --key K, too" \
		submit noop --if-exists return
	says 2 "--if-exists wants one of return|reject|replace, not 'ignore'" \
		submit noop --key k --if-exists ignore
	says 2 "unknown option --key; see pyprepctl map --help" map noop 0..2 --key k
}

@test "map: items" {
	says 2 "map takes a kind and its items" map
	says 2 "map takes a kind and its items" map square
	for bad in 5 5.. ..5 5..5 6..5 a..b 1..2..3 1.5..2 0..99999999999999999999; do
		says 2 "the items are LO..HI (HI not included, above LO) or -, not '$bad'" \
			map square "$bad"
	done
	says 2 "'7' is not name=value" map square 0..5 7
	says 2 "only exec takes a command after --" map square 0..5 -- make
	says 2 "each item becomes its last word" map exec -
}

@test "ids" {
	says 2 "wait takes one id or more; 'pyprepctl ls' lists them" wait
	says 2 "show takes one id; 'pyprepctl ls' lists them" show
	says 2 "show takes one id" show 1 2
	for bad in x 0 -3 1.5 "" 99999999999999999999999; do
		says 2 "a job's id is a whole number from 1, not '$bad'" show "$bad"
		says 2 "a job's id is a whole number from 1, not '$bad'" wait 5 "$bad"
		says 2 "a job's id is a whole number from 1, not '$bad'" cancel "$bad"
	done
	says 2 "--any, --all and --as-completed exclude each other" wait 5 --any --all
	says 2 "cancel takes one id or more, or --all" cancel
	says 2 "give ids or --all, not both" cancel --all 5
	says 2 "--everybody goes with --all" cancel --everybody 5
}

@test "pool" {
	says 2 "pool takes resize, pause, resume or strategy; 'pyprepctl pools' lists pools" pool
	says 2 "not 'rezise'; did you mean 'resize'?" pool rezise cpu 4
	says 2 "write: pyprepctl pool resize NAME N" pool resize cpu
	says 2 "write: pyprepctl pool pause NAME" pool pause
	says 2 "write: pyprepctl pool resume NAME" pool resume a b
	says 2 "write: pyprepctl pool strategy NAME STRATEGY" pool strategy cpu
	says 2 "not 'strategie'; did you mean 'strategy'?" pool strategie cpu fair
	for bad in x -1 1.5 4097; do
		says 2 "the number of workers is a whole number from 0 to 4096, not '$bad'" \
			pool resize cpu "$bad"
	done
}

@test "commands that take no words" {
	for verb in ls pools status ping reload stop; do
		says 2 "$verb takes no words, not 'extra'" $verb extra
	done
	says 2 "kinds takes one name, not 2" kinds a b
	says 2 "completion takes bash, zsh or fish" completion
	says 2 "completion takes bash, zsh or fish, not 'tcsh'" completion tcsh
}

@test "with --json a mistake is also an object on stdout" {
	run bash -c 'pyprepctl submit --json noop --count x 2>/dev/null'
	[ "$status" -eq 2 ]
	[ "$(jq -r .error.code <<<"$output")" = usage ]
	[ "$(jq -r .error.exit <<<"$output")" = 2 ]
	run bash -c 'pyprepctl submit noop --count x --json 2>/dev/null'
	[ "$(jq -r .error.code <<<"$output")" = usage ]
	run bash -c 'pyprepctl ping --json 2>/dev/null'
	[ "$status" -eq 69 ]
	[ "$(jq -r .error.code <<<"$output")" = unreachable ]
}

@test "without a daemon: 69, and 3 for status" {
	says 69 "no pyprepd answers at $PYPREP_RUNTIME_DIR" submit noop
	says 69 "no pyprepd answers at" run noop
	says 69 "no pyprepd answers at" map square 0..5
	says 69 "no pyprepd answers at" ls
	says 69 "no pyprepd answers at" ping
	says 69 "no pyprepd answers at" ping --wait 50ms
	says 3 "no pyprepd answers at" status
	says 69 "no pyprepd answers at /nowhere" --runtime-dir /nowhere ls
	says 69 "no pyprepd answers at /nowhere" ls --runtime-dir=/nowhere
}

@test "help, version and completion go to stdout with status 0" {
	says 0 "Commands:" --help
	says 0 "Commands:" -h
	says 0 "Commands:" help
	says 0 "pyprepctl 0." --version
	for verb in submit run map wait ls show cancel kinds pools pool status ping reload stop \
		completion help; do
		says 0 "Examples:" help $verb
		says 0 "Usage: pyprepctl $verb" $verb --help
	done
	for shell in bash zsh fish; do
		says 0 "pyprepctl completion $shell" completion $shell
	done
	run bash -c 'source <(pyprepctl completion bash); COMP_WORDS=(pyprepctl submit --cou)
		COMP_CWORD=2; _pyprepctl; echo "${COMPREPLY[@]}"'
	[ "$output" = --count ]
	run bash -c 'source <(pyprepctl completion bash); COMP_WORDS=(pyprepctl submit --jitter "")
		COMP_CWORD=3; _pyprepctl; echo "${COMPREPLY[@]}"'
	[ "$output" = "none full" ]
}

@test "what cannot be written is an error" {
	[ -w /dev/full ] || skip "no /dev/full"
	run bash -c 'pyprepctl help >/dev/full'
	[ "$status" -eq 125 ]
	[[ $output == *"cannot write to standard output: No space left on device"* ]]
}
