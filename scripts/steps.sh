# Sourced by scripts that do several things: runs each as a step and says in the end what each took.

steps_taken=""

# Usage: step NAME COMMAND...
step() {
    local name="$1" began="$SECONDS"
    shift
    echo "== $name: $*"
    "$@"
    steps_taken="$steps_taken$(printf '%6d s  %s' "$((SECONDS - began))" "$name")"$'\n'
}

# Usage: trap print_steps EXIT
print_steps() {
    printf '== time of each step\n%s' "$steps_taken"
}
