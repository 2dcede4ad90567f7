echo "Hello, World!" > /var/lib/hello
