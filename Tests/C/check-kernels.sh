#!/bin/sh
# Usage: check-kernels.sh DIRECTORY, a SwiftPM build directory (.build/release)
#
# Looks at the object files of the kernels, each compiled for one instruction set:
#   - The linker keeps one copy of a weak function for the whole library, so an AVX copy could end up in the baseline.
#     Every weak function of a kernel target must therefore carry that target's own name (a specialisation for its own
#     types), and no other target may define it. An instance of a standard-library generic does not, and is refused.
#   - No VEX or EVEX instruction in the baseline.
#   - No call of fma or fmaf: a function call per number, where an instruction was meant.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0
complain() { # text, file of details
  echo "FAILED $1:"
  head -n 5 "$2" | sed 's/^/  /'
  failed=1
}

# "OBJECT: ADDRESS TYPE NAME" of all functions of the library; SwiftPM's objects of other products do not matter.
find -L "$1" -name '*.o' -path '*.build/*' | sort > "$work/objects"
while read -r object; do nm "$object" | sed "s|^|$object: |"; done < "$work/objects" | grep -E ' [TtW] ' > "$work/functions"

for target in Baseline V3 V4; do
  module=RNNKernels$target
  grep "/$module.build/" "$work/objects" > "$work/own-objects" || true
  if [ ! -s "$work/own-objects" ]; then
    if [ "$target" = Baseline ] || [ "$(uname -m)" = x86_64 ]; then
      echo "FAILED $module: no object files in $1"
      failed=1
    fi
    continue
  fi

  grep "/$module.build/.* W " "$work/functions" | sed 's/.* W //' | sort -u > "$work/weak" || true
  grep -v "$module" "$work/weak" > "$work/foreign" || true
  [ ! -s "$work/foreign" ] || complain "$module has weak functions that are not its own" "$work/foreign"
  grep -v "/$module.build/" "$work/functions" | sed 's/.* [TtW] //' | sort -u > "$work/elsewhere"
  comm -12 "$work/weak" "$work/elsewhere" > "$work/shared"
  [ ! -s "$work/shared" ] || complain "$module shares weak functions with another target" "$work/shared"

  while read -r object; do
    count=$((count + 1))
    nm -u "$object" | grep -E ' (fma|fmaf)$' > "$work/calls" || true
    [ ! -s "$work/calls" ] || complain "$object calls" "$work/calls"
    if [ "$target" = Baseline ] && [ "$(uname -m)" = x86_64 ]; then
      objdump -d --no-show-raw-insn "$object" | grep -E '^ *[0-9a-f]+:[[:space:]]+v[a-z]' > "$work/vex" || true
      [ ! -s "$work/vex" ] || complain "$object has VEX or EVEX instructions" "$work/vex"
    fi
  done < "$work/own-objects"
done

[ "$failed" = 0 ] || exit 1
echo "$count kernel objects: no weak function of another target's, no AVX in the baseline, no calls of fma"
