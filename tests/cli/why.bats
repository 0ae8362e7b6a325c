#!/usr/bin/env bats
# why.bats - pyprepctl why: for each reason a real situation, what is said of it, and the
# counterfactual: what it says would start the job is done, and the job starts.

load helpers

setup() {
	cat >"$BATS_TEST_TMPDIR/conf" <<-END
		[daemon]
		drain_deadline = 0s
		[pool "cpu"]
		executor = process
		workers = 1
		[pool "shell"]
		executor = command
		workers = 2
		[resource "db"]
		limit = 2
	END
	daemon_start --config "$BATS_TEST_TMPDIR/conf"
}

teardown() {
	daemon_stop
}

# A detached job that takes long, on pool cpu unless said otherwise; its id.
long() {
	pyprepctl submit -d -q sleep ms=600000 "$@"
}

# A detached command; its id.
command_job() { # command_job OPTIONS -- COMMAND
	pyprepctl submit -d -q exec "$@"
}

# reasons ID WORDS...: these, in this order
reasons() {
	local id=$1 said
	shift
	said=$(pyprepctl why "$id" --json | jq -r '.reasons | map(.reason) | join(" ")')
	[ "$said" = "$*" ] || { echo "job $id: reasons '$said', expected '$*'"; pyprepctl why "$id"; return 1; }
}

state_is() { # state_is ID STATE
	[ "$(pyprepctl show "$1" --json | jq -r .state)" = "$2" ]
}

# Do what it says, and see the job start.
start_now() {
	local id=$1
	state_is "$id" queued
	pyprepctl why "$id" --json | jq -er '.start_now[]' >"$BATS_TEST_TMPDIR/commands"
	[ -s "$BATS_TEST_TMPDIR/commands" ]
	sh -e "$BATS_TEST_TMPDIR/commands" >/dev/null
	until_true never_queued "$id" || { cat "$BATS_TEST_TMPDIR/commands"; pyprepctl why "$id"; return 1; }
}

never_queued() {
	! state_is "$1" queued
}

# why_is ID EXPRESSION
why_is() {
	pyprepctl why "$1" --json | jq -e "$2" >/dev/null
}

until_why() {
	until_true why_is "$1" "$2" || { pyprepctl why "$1" --json; return 1; }
}

@test "why: the JSON of a job that waits" {
	pyprepctl pool pause cpu -q
	id=$(long -p cpu --priority 3)
	json '.schema == "pyprep.why/1" and .live and .state == "queued" and .kind == "sleep"
		and .pool == "cpu" and .priority == 3 and .detached and .attempt == 1
		and .for_ns > 0 and (.reasons | length) == 1
		and (.reasons[0] | .reason == "paused" and (.text | length) > 0
			and .remedy == "pyprepctl pool resume cpu")
		and .start.unknown == "pool" and .runs == null and .worker == null
		and .start_now == ["pyprepctl pool resume cpu"]' why "$id" --json
}

@test "why: a paused pool; resumed, it starts" {
	pyprepctl pool pause cpu -q
	id=$(long)
	says 0 "pool cpu is paused" why "$id"
	[[ $output == *"to start it now:"*"pyprepctl pool resume cpu"* ]]
	start_now "$id"
	until_why "$id" '.state == "running" and .worker.started_ns > 0 and .reasons == []'
}

@test "why: busy workers and jobs ahead; with as many workers as it says, it starts" {
	first=$(long)
	until_true state_is "$first" running
	for _ in 1 2 3; do long --priority 5; done >/dev/null
	id=$(long)
	reasons "$id" ahead busy
	why_is "$id" '.reasons[0] | .count == 3 and .higher == 3 and .exact and .strategy == "priority"'
	why_is "$id" ".reasons[1] | .workers == 1 and .needed == 5 and .running[0].id == $first"
	says 0 "3 jobs go before it, of a higher priority (strategy priority)" why "$id"
	[[ $output == *"the only worker of pool cpu is busy with job $first (sleep, running for"* ]]
	[[ $output == *"it would start now with 5 workers"* ]]
	start_now "$id"
	[ "$(pyprepctl status --json | jq '.pools[0].running')" -eq 5 ]
}

@test "why: fewer workers than it says do not start it" {
	long >/dev/null
	long >/dev/null
	id=$(long)
	until_why "$id" '.reasons[1].needed == 3'
	pyprepctl pool resize cpu 2 -q
	until_status '.pools[0].running == 2'
	state_is "$id" queued
	why_is "$id" '.reasons | map(.reason) == ["busy"] and .[0].needed == 3'
	start_now "$id"
}

@test "why: a pool without workers" {
	pyprepctl pool resize cpu 0 -q
	until_status '.pools[0].workers == []'
	id=$(long)
	reasons "$id" no_workers
	says 0 "pool cpu has no workers; it would start now with 1 worker" why "$id"
	start_now "$id"
}

@test "why: held; released, it starts" {
	id=$(long --hold)
	until_why "$id" '.reasons | map(.reason) == ["held"]'
	says 0 "it is held" why "$id"
	why_is "$id" ".start_now == [\"pyprepctl release $id\"] and .start.unknown == \"held\""
	start_now "$id"
}

@test "why: held in a busy pool; both have to be done, one alone does not start it" {
	first=$(long)
	until_true state_is "$first" running
	id=$(long --hold)
	until_why "$id" '.reasons | map(.reason) == ["held", "busy"]'
	why_is "$id" ".start_now == [\"pyprepctl release $id\", \"pyprepctl pool resize cpu 2\"]"
	start_now "$id"
	id=$(long --hold)
	until_why "$id" '.start_now | length == 2'
	pyprepctl release "$id"
	until_why "$id" '.reasons | map(.reason) == ["busy"]'
	state_is "$id" queued
}

@test "why: a delay, for how long; nothing starts it now" {
	id=$(long --delay 1h)
	until_why "$id" '.reasons | map(.reason) == ["time"]'
	why_is "$id" '.reasons[0].in_ns > 3500e9 and .reasons[0].in_ns <= 3600e9 and .start_now == null
		and .start.p10_ns > 3500e9 and .start.p90_ns <= 3601e9'
	says 0 "it is to start in 60.0 min, by its delay" why "$id" || says 0 "59." why "$id"
	soon=$(pyprepctl submit -d -q noop --delay 300ms)
	until_true state_is "$soon" succeeded
}

@test "why: another job; when that has ended, it starts" {
	parent=$(long --hold)
	id=$(long --after "$parent:any")
	until_why "$id" '.reasons | map(.reason) == ["dependency"]'
	why_is "$id" ".reasons[0] | .count == 1 and .jobs[0].id == $parent and .jobs[0].state == \"queued\""
	why_is "$id" '.start_now == null and .start.unknown == "dependency"'
	says 0 "it waits for the end of job $parent (sleep, queued for" why "$id"
	pyprepctl cancel "$parent" >/dev/null
	until_true state_is "$id" running
}

@test "why: a resource, and who has it; given back, it starts" {
	pyprepctl pool resize shell 4 -q
	a=$(command_job --need db -- sleep 600)
	b=$(command_job --need db -- sleep 600)
	until_status '.pools[1].running == 2'
	id=$(command_job --need db -- sleep 600)
	until_why "$id" '.reasons | map(.reason) == ["resource"]'
	why_is "$id" ".reasons[0] | .name == \"db\" and .used == 2 and .limit == 2 and .asked == 1
		and ([.holders[].id] | sort) == [$a, $b]"
	says 0 "resource db: 2 of 2 used, and it needs 1; used by job $a (exec, running for" why "$id"
	why_is "$id" '.start_now == null and .start.unknown == "resource"'
	pyprepctl cancel "$a" >/dev/null
	until_true state_is "$id" running
}

@test "why: a rate, and when there is room again" {
	a=$(command_job --rate 1/1h -- sleep 600)
	until_true state_is "$a" running
	id=$(command_job --rate 1/1h -- sleep 600)
	until_why "$id" '.reasons | map(.reason) == ["rate"]'
	why_is "$id" '.reasons[0] | .used == 1 and .limit == 1 and .window_ns == 3600e9
		and .in_ns > 3000e9 and .in_ns <= 3600e9'
	why_is "$id" '.start_now == null and .start.p10_ns > 3000e9'
	says 0 "1 of 1 starts within 60.0 min are used; the next is free in" why "$id"
}

@test "why: a pool that is drained; resumed, it starts" {
	first=$(long)
	until_true state_is "$first" running
	id=$(long)
	pyprepctl drain cpu >/dev/null 2>&1 3>&- &
	until_status '.pools[0].state == "draining"'
	pyprepctl cancel "$first" >/dev/null
	until_why "$id" '.reasons[0].reason | . == "drain" or . == "draining"'
	says 0 "pool cpu is being drained, and starts no detached job" why "$id"
	start_now "$id"
}

@test "why: one like it runs; it waits for that one's result" {
	pyprepctl pool resize cpu 2 -q
	until_status '[.pools[0].workers[] | select(.state == "idle")] | length == 2'
	a=$(long --cache 1h)
	until_true state_is "$a" running
	id=$(long --cache 1h)
	until_why "$id" '.reasons | map(.reason) == ["cache"]'
	why_is "$id" ".reasons[0].job.id == $a and .start_now == null and .start.unknown == \"cache\""
	says 0 "job $a, which is the same, runs for" why "$id"
	pyprepctl cancel "$a" >/dev/null
	until_true state_is "$id" running
}

@test "why: an attempt that is to come" {
	id=$(command_job --retries 3 --backoff const:1h --jitter none -- false)
	until_why "$id" '.reasons | map(.reason) == ["backoff"]'
	why_is "$id" '.attempt == 2 and .reasons[0].attempt == 2 and .reasons[0].in_ns > 3000e9
		and .start.p10_ns > 3000e9'
	says 0 "attempt 2 begins in" why "$id"
}

@test "why: a running job: where, for how long, and how long such jobs take" {
	pyprepctl submit sleep ms=20 -p cpu -n 30 -q >/dev/null
	id=$(long -p cpu)
	until_why "$id" '.state == "running" and .worker.started_ns > 0'
	worker=$(pyprepctl status --json | jq '.pools[0].workers[0].pid')
	why_is "$id" ".worker.slot == 0 and .worker.pid == $worker and .start == null and .start_now == []
		and .runs.count >= 30 and .runs.p10_ns >= 19e6 and .runs.p10_ns <= .runs.p50_ns
		and .runs.p50_ns <= .runs.p90_ns and .cpu.span_ns >= 50e6 and .cpu.threads >= 1"
	says 0 "has run for" why "$id"
	[[ $output == *"such jobs run for"*"p10 to p90 of 3"* ]]
	[[ $output == *"in the last"*"its worker was on a CPU for"* ]]
}

@test "why: a job that computes is on a CPU; one that sleeps is not" {
	busy=$(pyprepctl submit -d -q sumsq n=1000000000000 -p cpu)
	idle=$(command_job -- sleep 600)
	until_why "$busy" '.worker.started_ns > 0'
	until_why "$idle" '.worker.started_ns > 0'
	# it has or wants a CPU all the time
	until_why "$busy" '.cpu | (.on_ns + .waiting_ns) / .span_ns > 0.8'
	until_why "$idle" '.cpu | (.on_ns + .waiting_ns) / .span_ns < 0.2'
	loop=$(command_job -- sh -c 'while :; do :; done')
	until_why "$loop" '.cpu | (.on_ns + .waiting_ns) / .span_ns > 0.8'
}

@test "why: a start foretold by what such jobs took; with no history it says so" {
	until_why "$(long)" '.state == "running"'
	id=$(long)
	why_is "$id" '.start == {"unknown": "no_history", "kind": "sleep"}'
	says 0 "when it starts is not known: no job of kind sleep has ended on pool cpu yet" why "$id"
	pyprepctl cancel --all >/dev/null
	until_status '.jobs.queued == 0 and .jobs.running == 0'
	# from now on all take a second or so
	pyprepctl submit sleep ms=1000 -p cpu -q >/dev/null
	first=$(pyprepctl submit -d -q sleep ms=1000)
	pyprepctl submit -d -q sleep ms=1000 >/dev/null
	id=$(pyprepctl submit -d -q sleep ms=1000)
	until_true state_is "$first" running
	# the rest of one, and one more
	until_why "$id" '.start.p50_ns > 0 and .start.p10_ns <= .start.p50_ns
		and .start.p50_ns <= .start.p90_ns and .start.runs >= 1
		and .start.p90_ns <= 2 * .runs.p90_ns'
	says 0 "(p10 to p90, by " why "$id"
	until_true state_is "$id" succeeded
}

@test "why: what has ended says what happened" {
	id=$(command_job -- sh -c 'exit 3')
	until_true state_is "$id" failed
	says 0 "job $id (exec) has ended: failed" why "$id"
	[[ $output == *"3"* ]]
	json ".schema == \"pyprep.why/1\" and .live == false and .state == \"failed\" and .start_now == null
		and .reasons[0].reason == \"ended\" and .job.schema == \"pyprep.job/1\" and .job.exit_status == 3" \
		why "$id" --json
	gone=$(pyprepctl submit noop -q)
	says 0 "job $gone (noop) has ended: succeeded" why "$gone"
	says 3 "there is no job 4711" why 4711
	says 2 "why takes one id" why
	says 2 "why takes one id" why 1 2
	says 2 "a job's id is a whole number from 1, not 'x'" why x
}
