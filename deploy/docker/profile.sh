export PATH="/opt/selfray/bin:$PATH"
