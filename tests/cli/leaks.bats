#!/usr/bin/env bats
# leaks.bats - pyprepctl leaks and doctor; what show says of what a job left, and of memory limits.

load helpers

teardown() {
	daemon_stop
}

@test "leaks: nothing, by kind, by job, in words and in JSON; show tells of it" {
	daemon_start
	says 0 "no job has left anything behind" leaks
	json '.kinds==[] and .jobs==[] and .schema=="pyprep.leaks/1"' leaks --json
	pyprepctl run fail how=leak_child
	pyprepctl run exec -- sh -c 'echo 123 >$PYPREP_SCRATCH/file'
	says 0 "fail" leaks
	says 0 "exec" leaks
	json '(.kinds|length)==2 and (.jobs|length)==2' leaks --json
	json '.kinds[0].processes==2 and .kinds[0].kind=="fail" and .jobs[0].processes==2' leaks fail --json
	says 0 "jobs of kind noop left nothing behind" leaks noop
	id=$(pyprepctl leaks exec --json | jq '.jobs[0].id')
	json '.kinds==[] and .jobs[0].files==1 and .jobs[0].bytes==4' leaks "$id" --json
	says 0 "left behind: 1 files (4" show "$id"
	json '.left.files==1 and .left.processes==0' show "$id" --json
	id=$(pyprepctl submit -q noop)
	json 'has("left")|not' show "$id" --json
	says 0 "job $id left nothing behind" leaks "$id"
	says 2 "takes one kind or one id" leaks one two
	says 2 "is no job's number" leaks 0
}

@test "doctor: a daemon on this machine, in words and in JSON" {
	daemon_start
	says 0 "wrong" doctor
	says 0 "memory limits: of commands by" doctor
	json '.schema=="pyprep.check/1" and (.state|IN("ok","warn","fail")) and (.found|length)>0' doctor --json
	# what is not ok comes with advice
	json '.state=="ok" or (.advice|length)>0' doctor --json
	says 2 "takes no words" doctor now
	run pyprepctl doctor --quiet
	never grep -q '^ok' <<<"$output"
}

@test "doctor: what is weaker is a warning with its reason" {
	PRIVATE_CONFIG=$(mktemp)
	printf '[daemon]\ncgroups = no\nscratch_dir = /proc/none\nmax_clients = 60000\n' >"$PRIVATE_CONFIG"
	daemon_start --config "$PRIVATE_CONFIG"
	rm "$PRIVATE_CONFIG"
	says 0 "cgroups = no" doctor
	says 0 "there are none: commands run without PYPREP_SCRATCH" doctor
	says 0 "set scratch_dir" doctor --quiet
	wanted=warn
	[ "$(ulimit -n)" -lt 120500 ] || wanted=ok
	[ "$(pyprepctl doctor --json | jq -r 'select(.check=="descriptors").state')" = "$wanted" ]
	says 0 "" run exec -- sh -c '[ -z "${PYPREP_SCRATCH+x}" ]'
}

@test "doctor: without a daemon it says so, how to start one, and fails" {
	PRIVATE=$(mktemp -d)
	export PYPREP_RUNTIME_DIR=$PRIVATE
	says 1 "systemctl start pyprepd" doctor
	says 1 "fail  daemon" doctor
	DAEMON=
	rm -rf "$PRIVATE"
}

# its one worker is killed, if it is there
kill_worker() {
	local pid
	pid=$(pyprepctl status --json | jq '.pools[0].workers[0].pid')
	[ "${pid:-0}" -le 1 ] || kill -KILL "$pid" || true
	status_is '.pools[0].state == "failed"'
}

@test "doctor: a failed pool is named" {
	PRIVATE_CONFIG=$(mktemp)
	printf '[pool "weak"]\nexecutor = process\nworkers = 1\nrestart_max = 1\nrestart_window = 1h\n' >"$PRIVATE_CONFIG"
	daemon_start --config "$PRIVATE_CONFIG"
	rm "$PRIVATE_CONFIG"
	says 0 "none has failed" doctor
	until_true kill_worker
	says 1 "pyprepctl pool resume weak" doctor
}

@test "a memory limit: what held it and what became of the job is told" {
	daemon_start
	limit=$(pyprepctl doctor --json | jq -r 'select(.check=="memory limits").found')
	says 137 "out_of_memory" run --memory-limit 48M touch bytes=100000000
	json '.memory_limit=="process" and .cause=="oom" and .exit_status==137' submit --memory-limit 48M --json touch bytes=100000000
	json 'has("memory_limit")|not' submit --json touch bytes=100000
	case $limit in
	*"by cgroup"*)
		says 137 "the kernel killed 1 of its processes" run --memory-limit 64M exec -- \
			sh -c 'head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null'
		json '.memory_limit=="cgroup" and .cause=="oom"' submit --memory-limit 64M --json exec -- \
			sh -c 'head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null'
		;;
	*)
		json '.memory_limit=="process" and .cause=="exit 1"' submit --memory-limit 64M --json exec -- \
			sh -c 'head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null'
		;;
	esac
	says 2 'submit it to pool "cpu"' submit --memory-limit 48M --pool threads noop
}

@test "recycled workers are counted in status" {
	PRIVATE_CONFIG=$(mktemp)
	printf '[pool "cpu"]\nexecutor = process\nworkers = 2\nrecycle_jobs = 10\n' >"$PRIVATE_CONFIG"
	daemon_start --config "$PRIVATE_CONFIG"
	rm "$PRIVATE_CONFIG"
	pyprepctl submit -q -n 100 sleep ms=1 >/dev/null
	until_status '.pools[0].recycled > 1 and .pools[0].able == 2 and .pools[0].able_least == 2'
	says 0 "recycled" status
}
