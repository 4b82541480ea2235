import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.concurrent.ConcurrentLinkedQueue;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManagerFactory;

/**
 * A peer on Java's SSLEngine. It sends nothing while a handshake is in progress: a peer that sends application data
 * between its ServerHello and its Finished loses any connection with OpenSSL. The arguments, commands and lines are those
 * of all peers; see test/fixtures/foreign-peer.ts.
 */
public final class SSLEnginePeer {
  private final SSLEngine engine;
  private final SocketChannel channel;
  private final Selector selector;
  private final ConcurrentLinkedQueue<String> commands;

  /** Records that have arrived, and their plaintext. Both are kept ready to be read. */
  private final ByteBuffer netIn;
  private final ByteBuffer appIn;
  /** Records to be sent. Kept ready to be read. */
  private final ByteBuffer netOut;
  /** The piece of the pattern to send next. */
  private final ByteBuffer appOut;

  private long sent;
  private long received;
  private long expected = -1;
  private boolean connected;
  private boolean stopping;
  private boolean stopped;
  /** Whether a handshake has begun and is not complete. Nothing but handshake messages is sent then. */
  private boolean handshaking = true;

  public static void main(String[] arguments) {
    try {
      run(arguments);
    } catch (Exception exception) {
      say("error " + (exception.getMessage() == null ? exception : exception.getMessage()));
      System.exit(1);
    }
  }

  private static void run(String[] arguments) throws Exception {
    say("version Java " + System.getProperty("java.version"));
    boolean isServer = arguments[0].equals("server");
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1]));
    String version = arguments.length == 6 ? arguments[5] : "TLSv1.2";
    SSLContext context = context(version, arguments[2], arguments[3], arguments[4]);
    SSLEngine engine = context.createSSLEngine("localhost", address.getPort());
    engine.setUseClientMode(!isServer);
    engine.setEnabledProtocols(new String[] {version});
    if (!isServer) {
      SSLParameters parameters = engine.getSSLParameters();
      parameters.setEndpointIdentificationAlgorithm("HTTPS");
      engine.setSSLParameters(parameters);
    }

    Selector selector = Selector.open();
    ConcurrentLinkedQueue<String> commands = new ConcurrentLinkedQueue<>();
    Thread reader = new Thread(() -> readCommands(commands, selector));
    reader.setDaemon(true);
    reader.start();

    SocketChannel channel = isServer ? accept(address) : SocketChannel.open(address);
    new SSLEnginePeer(engine, channel, selector, commands).loop();
  }

  private static SocketChannel accept(InetSocketAddress address) throws IOException {
    try (ServerSocketChannel server = ServerSocketChannel.open().bind(address)) {
      say("listening " + server.socket().getLocalPort());
      return server.accept();
    }
  }

  private static SSLContext context(String version, String ca, String certificate, String key) throws Exception {
    KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
    trusted.load(null, null);
    trusted.setCertificateEntry("ca", certificate(ca));
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(trusted);

    KeyStore own = KeyStore.getInstance(KeyStore.getDefaultType());
    own.load(null, null);
    char[] password = new char[0];
    PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(pem(key));
    Certificate[] chain = {certificate(certificate)};
    String algorithm = chain[0].getPublicKey().getAlgorithm();
    own.setKeyEntry("own", KeyFactory.getInstance(algorithm).generatePrivate(spec), password, chain);
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(own, password);

    SSLContext context = SSLContext.getInstance(version);
    context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    return context;
  }

  private static Certificate certificate(String file) throws Exception {
    return CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(pem(file)));
  }

  private static byte[] pem(String file) throws IOException {
    return Base64.getMimeDecoder().decode(Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----", ""));
  }

  private static void readCommands(ConcurrentLinkedQueue<String> commands, Selector selector) {
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        commands.add(line);
        selector.wakeup();
      }
    } catch (IOException exception) {
      // No more commands.
    }
    System.exit(0);
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private SSLEnginePeer(
      SSLEngine engine, SocketChannel channel, Selector selector, ConcurrentLinkedQueue<String> commands) {
    this.engine = engine;
    this.channel = channel;
    this.selector = selector;
    this.commands = commands;
    int packet = engine.getSession().getPacketBufferSize();
    netIn = ByteBuffer.allocateDirect(4 * packet).flip();
    netOut = ByteBuffer.allocateDirect(packet).flip();
    appIn = ByteBuffer.allocate(engine.getSession().getApplicationBufferSize());
    appOut = ByteBuffer.allocate(16384).flip();
  }

  private void loop() throws Exception {
    channel.configureBlocking(false);
    SelectionKey key = channel.register(selector, SelectionKey.OP_READ);
    engine.beginHandshake();
    for (;;) {
      for (String command = commands.poll(); command != null; command = commands.poll()) obey(command);
      // One record each way at a time, so that neither direction waits for the other.
      boolean readMore = read();
      boolean writeMore = write();
      if (readMore || writeMore) continue;
      key.interestOps(SelectionKey.OP_READ | (netOut.hasRemaining() ? SelectionKey.OP_WRITE : 0));
      selector.select();
      selector.selectedKeys().clear();
    }
  }

  private void obey(String command) throws Exception {
    if (command.equals("renegotiate")) {
      handshaking = true;
      engine.beginHandshake();
    } else if (command.equals("update")) {
      // In TLS 1.3, this sends a KeyUpdate.
      engine.beginHandshake();
    } else if (command.equals("stop")) {
      stopping = true;
    } else if (command.startsWith("expect ")) {
      expected = Long.parseLong(command.substring("expect ".length()));
      tellReceived();
    } else {
      throw new IOException("unknown command: " + command);
    }
  }

  /** Reads from the channel, and takes one record. Returns whether more can be done without waiting. */
  private boolean read() throws Exception {
    netIn.compact();
    int count = channel.read(netIn);
    netIn.flip();
    SSLEngineResult result = engine.unwrap(netIn, appIn);
    check();
    progress(result);
    if (result.bytesConsumed() > 0) return true;
    if (count < 0) throw new IOException("the other end has closed the connection");
    return count > 0 && result.getStatus() != SSLEngineResult.Status.BUFFER_UNDERFLOW;
  }

  /** Makes one record, if there is one to be sent, and writes it. Returns whether more can be done without waiting. */
  private boolean write() throws Exception {
    if (!netOut.hasRemaining()) {
      boolean sends = connected && !stopped && !handshaking;
      if (!sends && engine.getHandshakeStatus() != HandshakeStatus.NEED_WRAP) return false;
      if (stopping && sends && !appOut.hasRemaining()) {
        stopped = true;
        say("stopped " + sent);
        return true;
      }
      if (sends && !appOut.hasRemaining()) fill();
      netOut.clear();
      ByteBuffer source = sends ? appOut : ByteBuffer.allocate(0);
      SSLEngineResult result = engine.wrap(source, netOut);
      netOut.flip();
      sent += result.bytesConsumed();
      progress(result);
    }
    channel.write(netOut);
    return !netOut.hasRemaining();
  }

  private void progress(SSLEngineResult result) throws Exception {
    if (result.getStatus() == SSLEngineResult.Status.CLOSED) throw new IOException("TLS has been closed");
    HandshakeStatus status = result.getHandshakeStatus();
    if (status == HandshakeStatus.NEED_TASK) {
      for (Runnable task = engine.getDelegatedTask(); task != null; task = engine.getDelegatedTask()) task.run();
      status = engine.getHandshakeStatus();
    }
    if (status == HandshakeStatus.FINISHED) {
      handshaking = false;
      if (connected) {
        say("renegotiated");
      } else {
        connected = true;
        say("connected " + engine.getSession().getCipherSuite());
      }
    } else if (status != HandshakeStatus.NOT_HANDSHAKING) {
      handshaking = true;
    }
  }

  private void fill() {
    appOut.clear();
    long offset = sent;
    // Only whole records are sent, so each begins with a whole number.
    while (appOut.hasRemaining()) {
      appOut.putLong(offset / 8);
      offset += 8;
    }
    appOut.flip();
  }

  private void check() throws IOException {
    appIn.flip();
    while (appIn.hasRemaining()) {
      if (received % 8 == 0 && appIn.remaining() >= 8) {
        if (appIn.getLong(appIn.position()) == received / 8) {
          appIn.position(appIn.position() + 8);
          received += 8;
          continue;
        }
      }
      byte right = (byte) (received / 8 >>> 8 * (7 - received % 8));
      if (appIn.get() != right) throw new IOException("wrong byte at " + received);
      received++;
    }
    appIn.clear();
    tellReceived();
  }

  private void tellReceived() {
    if (expected < 0 || received < expected) return;
    say("received " + received);
    expected = -1;
  }
}
