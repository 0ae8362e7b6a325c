# helpers.bash - for the tests of pyprepctl: a private daemon, and checks of what was said.
#
# PYPREP_BIN is where pyprepd and pyprepctl lie (default: build/dev/bin of this tree).

: "${PYPREP_BIN:=$BATS_TEST_DIRNAME/../../build/dev/bin}"
PATH=$PYPREP_BIN:$PATH

# Start a daemon of this test's own and wait until it answers.  Further arguments go to it.
daemon_start() {
	PRIVATE=$(mktemp -d)
	export PYPREP_RUNTIME_DIR=$PRIVATE/run PYPREP_STATE_DIR=$PRIVATE/state
	mkdir "$PYPREP_RUNTIME_DIR" "$PYPREP_STATE_DIR"
	# bats waits for whoever holds its descriptor 3
	"$PYPREP_BIN/pyprepd" "$@" >"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	if ! pyprepctl ping -q --wait 60; then
		cat "$PRIVATE/log"
		return 1
	fi
}

daemon_stop() {
	[ -n "${DAEMON:-}" ] || return 0
	kill -TERM "$DAEMON" 2>/dev/null
	for _ in $(seq 200); do
		kill -0 "$DAEMON" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$DAEMON" 2>/dev/null
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	rm -rf "$PRIVATE"
}

# A daemon for all tests of a file: setup_file writes where it is, each test reads it.
daemon_share() {
	printf '%s\n' "PRIVATE=$PRIVATE DAEMON=$DAEMON" >"$BATS_FILE_TMPDIR/daemon"
}

daemon_of_file() {
	. "$BATS_FILE_TMPDIR/daemon"
	export PYPREP_RUNTIME_DIR=$PRIVATE/run PYPREP_STATE_DIR=$PRIVATE/state
}

# says STATUS TEXT ARGS...: pyprepctl ARGS ends with STATUS and says TEXT (a part of it) on
# stdout or stderr.
says() {
	local status_wanted=$1 text=$2
	shift 2
	# not `run`: it warns of 127, which is a right answer here
	status=0
	output=$(pyprepctl "$@" 2>&1) || status=$?
	if [ "$status" -ne "$status_wanted" ]; then
		echo "pyprepctl $*: status $status, expected $status_wanted; it said: $output"
		return 1
	fi
	case $output in
	*"$text"*) ;;
	*)
		echo "pyprepctl $*: expected '$text', it said: $output"
		return 1
		;;
	esac
}

# json EXPRESSION ARGS...: each line of `pyprepctl ARGS` is JSON for which the jq expression is
# true.  The command's own status is left in $ctl_status.
json() {
	local expression=$1 line
	shift
	ctl_status=0
	json_lines=$(pyprepctl "$@" 2>/dev/null) || ctl_status=$?
	[ -n "$json_lines" ] || { echo "pyprepctl $*: no JSON"; return 1; }
	while IFS= read -r line; do
		if ! jq -e "$expression" >/dev/null <<<"$line"; then
			echo "pyprepctl $*: not ($expression): $line"
			return 1
		fi
	done <<<"$json_lines"
}

# until_status EXPRESSION: wait until the daemon's status is one for which the jq expression is
# true.
until_status() {
	for _ in $(seq 1500); do
		! pyprepctl status --json 2>/dev/null | jq -e "$1" >/dev/null || return 0
		sleep 0.02
	done
	echo "never came: $1; the status is: $(pyprepctl status --json)"
	return 1
}
