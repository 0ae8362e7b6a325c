#!/usr/bin/env bats
# bench.bats - pyprepctl bench: what it prints, and that nothing remains.

load helpers

setup_file() {
	daemon_start
	daemon_share
}

teardown_file() {
	daemon_of_file
	daemon_stop
}

setup() {
	daemon_of_file
}

@test "bench: wrong words" {
	says 2 "bench has no row 'sleep_1000'; did you mean 'sleeps_1000'?" bench sleep_1000
	says 2 "bench has no row 'zzz'; rows: attached_latency" bench zzz
	says 2 "start would disturb a daemon in use" bench --attach start
}

@test "bench: a row as JSON has all that the schema promises" {
	json '.schema == "pyprep.bench/1" and .name == "idle_pss" and .unit == "MiB" and
		.value > 0 and .floor > 0 and (.ratio - .value / .floor | fabs) < 0.01 and
		.goal == 12 and (.met == (.value <= .goal)) and .p50 > 0 and
		has("p99") and has("p999") and .wakes >= 0' bench idle_pss --json
	[ "$ctl_status" -eq 0 ]
	json '.name == "attached_latency" and .p50 <= .p99 and .p99 <= .p999 and .n >= 1000' \
		bench attached_latency --quick --json
}

@test "bench: every row can be measured, the names are the table's" {
	names=$(pyprepctl bench --quick --json | jq -r 'select(.value != null) | .name' | xargs)
	[ "$names" = "attached_latency attached_rate array_items sleeps_1000 sumsq_4 exec_rate \
replacement deep_queue bytes_per_job idle_pss start" ]
}

@test "bench: --attach measures the running daemon" {
	before=$(pyprepctl status --json | jq .jobs.succeeded)
	json '.name == "sleeps_1000" and .value >= 10' bench --attach --quick --json sleeps_1000
	[ "$(pyprepctl status --json | jq .jobs.succeeded)" -gt "$before" ]
}

@test "bench: interrupted, it leaves no process and no file" {
	pyprepctl bench replacement >/dev/null 2>&1 3>&- &
	bench=$!
	row_and_daemon() {
		row=$(pgrep -P "$bench" | head -n 1)
		daemon=$(pgrep -P "${row:-0}" | head -n 1)
		[ -n "$row" ] && [ -n "$daemon" ]
	}
	until_true row_and_daemon
	kill -TERM "$bench"
	status=0
	wait "$bench" || status=$?
	[ "$status" -eq 143 ]
	[ ! -e "/proc/$row" ]
	[ ! -e "/proc/$daemon" ]
	[ -z "$(left_by bench "$bench")" ]
}
