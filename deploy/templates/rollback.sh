#!/bin/sh
# Takes the ImagePolicyWebhook plugin out of the kube-apiserver of this machine. It asks neither sluice nor the apiserver, and
# can be run again at any time. It takes out what was put in, and leaves the rest of the manifest as it is: a copy from before
# could undo an upgrade.
#
#   sh rollback.sh [--dry-run] [MANIFEST]        as root, on each control-plane machine
set -eu

manifest=/etc/kubernetes/manifests/kube-apiserver.yaml
SLUICE_ADMISSION={{shell (print .Mount "/admission.yaml")}}
export SLUICE_ADMISSION

fail() {
  echo "error: $1" >&2
  exit "${2:-1}"
}

dry=
for arg do
  case $arg in
    --dry-run) dry=yes ;;
    -*) fail "usage: sh rollback.sh [--dry-run] [MANIFEST]" 2 ;;
    *) manifest=$arg ;;
  esac
done
[ -f "$manifest" ] || fail "there is no manifest $manifest; name the one of your kube-apiserver"

# The manifest without the plugin, the flag that names admission.yaml, and the volume called sluice. Where
# --admission-control-config-file names another file, it stays: others than sluice may be set up there.
without() {
  awk '
    function trim(s) {
      sub(/^[ \t]+/, "", s)
      sub(/[ \t\r]+$/, "", s)
      return s
    }
    # What the scalar of a list item says. Sets quote, and lead, which is what stands before it.
    function value(s,   out, c, i) {
      match(s, /^[ \t]*-[ \t]+/)
      lead = substr(s, 1, RLENGTH)
      s = trim(substr(s, RLENGTH + 1))
      quote = substr(s, 1, 1)
      if (quote != "\"" && quote != apostrophe) {
        quote = ""
        sub(/[ \t]+#.*$/, "", s)
        return s
      }
      for (i = 2; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (c == quote && quote == apostrophe && substr(s, i + 1, 1) == quote) i++
        else if (c == quote) return out
        else if (c == "\\" && quote == "\"") c = substr(s, ++i, 1)
        out = out c
      }
      return ""                  # it goes on in the next line, as no flag does
    }
    function remaining(list,   n, i, names, out) {
      n = split(list, names, ",")
      for (i = 1; i <= n; i++) {
        names[i] = trim(names[i])
        if (names[i] != "" && names[i] != "ImagePolicyWebhook") out = out (out == "" ? "" : ",") names[i]
      }
      return out
    }
    function listed(list) { return ("," list ",") ~ /,[ \t]*ImagePolicyWebhook[ \t]*,/ }
    function put(line) {
      if (items) item = item line "\n"
      else print line
    }
    function flush() {
      if (items && !ours) printf "%s", item
      item = ""
      items = ours = 0
    }
    function release() {
      if (held != "") put(held)
      held = ""
    }
    BEGIN {
      apostrophe = sprintf("%c", 39)
      named = "^ *(- +)?name:[ \t]*[\"" apostrophe "]?sluice[\"" apostrophe "]?[ \t\r]*(#.*)?$"
    }
    /^[ \t\r]*(#.*)?$/ { put($0); next }
    {
      match($0, /^ */)
      depth = RLENGTH
      dash = $0 ~ /^ *-([ \t]|$)/
    }
    # Within volumes or volumeMounts, an item is kept back until it is known whose it is.
    volumes {
      if (dash && depth >= key && (column < 0 || depth == column)) {
        flush()
        column = depth
        items = 1
      } else if (column < 0 || depth <= column) {
        flush()
        volumes = 0
      }
      if (volumes) {
        if ($0 ~ named) ours = 1
        put($0)
        next
      }
    }
    /^ *(- +)?(volumes|volumeMounts):[ \t\r]*(#.*)?$/ {
      release()
      match($0, /^ *(- +)?/)
      key = RLENGTH
      volumes = 1
      column = -1
      print
      next
    }
    !dash { release(); print; next }
    {
      said = value($0)
      if (held != "") {          # the value of a flag that stands in the item before
        if (flag == "--enable-admission-plugins" && listed(said)) {
          rest = remaining(said)
          if (rest != "") { print held; print lead quote rest quote }
          held = ""
          next
        }
        if (flag == "--admission-control-config-file" && said == ENVIRON["SLUICE_ADMISSION"]) { held = ""; next }
        release()
      }
      flag = said
      sub(/=.*$/, "", flag)
      gsub(/_/, "-", flag)
      if (flag != "--enable-admission-plugins" && flag != "--admission-control-config-file") { print; next }
      equals = index(said, "=")
      if (!equals) { held = $0; next }
      said = substr(said, equals + 1)
      if (flag == "--admission-control-config-file") {
        if (said != ENVIRON["SLUICE_ADMISSION"]) print
      } else if (!listed(said)) {
        print
      } else if ((rest = remaining(said)) != "") {
        print lead quote flag "=" rest quote
      }
    }
    END { release(); flush() }
  ' "$1"
}

after=$(without "$manifest")
[ -n "$after" ] || fail "$manifest would be empty; it is left as it is"
if printf '%s\n' "$after" | grep -v '^[[:space:]]*#' | grep -v disable.admission.plugins | grep -q ImagePolicyWebhook; then
  fail "$manifest is written in a way that is not understood here: take ImagePolicyWebhook out of --enable-admission-plugins by hand"
fi
if [ "$after" = "$(cat "$manifest")" ]; then
  echo "$manifest does not have the plugin; nothing to do"
  exit 0
fi
if [ -n "$dry" ]; then
  printf '%s\n' "$after" | diff "$manifest" - || [ $? -eq 1 ]
  exit 0
fi

# Beside the manifest, under a name that the kubelet does not look at, and then in its place at one stroke. What was there is
# kept outside the directory, for the kubelet starts all that is in it.
dir=$(cd "$(dirname "$manifest")" && pwd -P)
new=$dir/.${manifest##*/}.rollback.$$
backup=$(dirname "$dir")/${manifest##*/}.before-rollback
trap 'rm -f "$new"' EXIT
cp -p "$manifest" "$new"
cp -p "$manifest" "$backup"
printf '%s\n' "$after" >"$new"
sync
mv -f "$new" "$manifest"
echo "$manifest is without the plugin, and the kubelet starts the apiserver anew. As it was: $backup"
echo "So that kubeadm does not put it back, take what kubeadm-patch.yaml says out of its configuration, too:"
echo "  kubectl -n kube-system edit configmap kubeadm-config"
