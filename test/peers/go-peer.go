// A peer on Go's crypto/tls, whose API blocks: one goroutine reads, another one writes. crypto/tls lets a write wait while
// a handshake is in progress. A Go client can follow a server's request to renegotiate, but cannot begin; a Go server does
// neither. The arguments, commands and lines are those of all peers; see test/fixtures/foreign-peer.ts.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

var output sync.Mutex

func say(format string, values ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Printf(format+"\n", values...)
}

func fail(problem any) {
	say("error %v", problem)
	os.Exit(1)
}

func main() {
	say("version %s", strings.Replace(runtime.Version(), "go", "Go ", 1))
	role, port, ca, certificate, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	config := configuration(ca, certificate, key)
	if len(os.Args) == 7 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
	address := "127.0.0.1:" + port

	var connection *tls.Conn
	if role == "server" {
		connection = tls.Server(accept(address), config)
	} else {
		socket, problem := net.Dial("tcp4", address)
		if problem != nil {
			fail(problem)
		}
		connection = tls.Client(socket, config)
		config.KeyLogWriter = &handshakes{connection: connection}
	}
	go obey()
	if problem := connection.Handshake(); problem != nil {
		fail(problem)
	}
	say("connected %s", tls.CipherSuiteName(connection.ConnectionState().CipherSuite))
	go send(connection)
	receive(connection)
}

func configuration(ca, certificate, key string) *tls.Config {
	pair, problem := tls.LoadX509KeyPair(certificate, key)
	if problem != nil {
		fail(problem)
	}
	pem, problem := os.ReadFile(ca)
	if problem != nil {
		fail(problem)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	return &tls.Config{
		Certificates:  []tls.Certificate{pair},
		RootCAs:       trusted,
		ServerName:    "localhost",
		MinVersion:    tls.VersionTLS12,
		MaxVersion:    tls.VersionTLS12,
		Renegotiation: tls.RenegotiateFreelyAsClient,
	}
}

func accept(address string) net.Conn {
	listener, problem := net.Listen("tcp4", address)
	if problem != nil {
		fail(problem)
	}
	say("listening %d", listener.Addr().(*net.TCPAddr).Port)
	socket, problem := listener.Accept()
	if problem != nil {
		fail(problem)
	}
	listener.Close()
	return socket
}

// handshakes prints a line for each handshake after the first. Of all hooks of crypto/tls, only the key log is called in
// each handshake. It is called in the middle. Handshake then waits for the end, and returns how it ended.
type handshakes struct {
	connection *tls.Conn
	count      int
}

func (h *handshakes) Write(line []byte) (int, error) {
	h.count++
	if h.count > 1 {
		go func() {
			if h.connection.Handshake() == nil {
				say("renegotiated")
			}
		}()
	}
	return len(line), nil
}

var stopping atomic.Bool

func send(connection *tls.Conn) {
	chunk := make([]byte, 32768)
	sent := 0
	for !stopping.Load() {
		for at := 0; at < len(chunk); at += 8 {
			binary.BigEndian.PutUint64(chunk[at:], uint64(sent+at)/8)
		}
		written, problem := connection.Write(chunk)
		sent += written
		if problem != nil {
			fail(problem)
		}
	}
	say("stopped %d", sent)
}

// progress is how much has been received, and how much is waited for.
var progress struct {
	sync.Mutex
	received int
	expected int
	expects  bool
}

func receive(connection *tls.Conn) {
	chunk := make([]byte, 32768)
	var right [8]byte
	received := 0
	for {
		count, problem := connection.Read(chunk)
		for _, value := range chunk[:count] {
			if received%8 == 0 {
				binary.BigEndian.PutUint64(right[:], uint64(received)/8)
			}
			if value != right[received%8] {
				fail(fmt.Sprintf("wrong byte at %d", received))
			}
			received++
		}
		progress.Lock()
		progress.received = received
		progress.Unlock()
		tellReceived()
		if problem != nil {
			fail(problem)
		}
	}
}

func tellReceived() {
	progress.Lock()
	defer progress.Unlock()
	if progress.expects && progress.received >= progress.expected {
		progress.expects = false
		say("received %d", progress.received)
	}
}

func obey() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "renegotiate":
			fail("crypto/tls cannot begin a renegotiation")
		case "stop":
			stopping.Store(true)
		case "expect":
			bytes, problem := strconv.Atoi(argument)
			if problem != nil {
				fail(problem)
			}
			progress.Lock()
			progress.expected, progress.expects = bytes, true
			progress.Unlock()
			tellReceived()
		default:
			fail("unknown command: " + command)
		}
	}
	os.Exit(0)
}
