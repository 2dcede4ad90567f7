# Puts the service where COS keeps it. /etc is made anew at every boot, and so is the place of units below /run.
set -euo pipefail
install -d -m 755 /var/lib/hello-app
install -m 644 hello-app.service hello-app.sh start.sh /var/lib/hello-app
printf 'GREETING="%s"\n' "$GREETING" >/var/lib/hello-app/hello-app.conf
