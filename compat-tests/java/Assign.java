import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeSet;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.slf4j.LoggerFactory;
import software.amazon.kinesis.coordinator.LeaderDecider;
import software.amazon.kinesis.coordinator.assignment.LAMDataManager;
import software.amazon.kinesis.coordinator.assignment.LAMDataSnapshot;
import software.amazon.kinesis.coordinator.assignment.LeaseAssignmentManager;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseAssignmentStrategy;
import software.amazon.kinesis.leases.LeaseManagementConfig.GracefulLeaseHandoffConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig.WorkerUtilizationAwareAssignmentConfig;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;
import software.amazon.kinesis.worker.metricstats.WorkerMetricStats;

/**
 * What the leader of KCL 3.5.1 does with a fleet: one fleet a line in, the outcomes a line out.
 *
 * The class LeaseAssignmentManager itself runs, over rows in memory: once without workers, so that it knows the counters, then with
 * those that are there. "order" names the place of each lease in its owner's shuffled list; without it shuffles are left to chance.
 * With "runs" workers come in any order, and all outcomes of that many runs are told. "balance" says whether this is a run that
 * balances, "count" asks for LEASE_COUNT_BASED. An outcome is one character a lease, its next owner, a blank, and how it came: a (assigned), h (asked to hand over), or a dot.
 *
 * java --add-opens java.base/java.util=ALL-UNNAMED -cp 'JARS/*' Assign.java
 */
public class Assign {
    private static final long LEASE_MILLIS = 10_000;
    private static final long LONG_MILLIS = 60_000;

    /** Lies in a set where its place says, so that what is left of chance is the shuffle. */
    private static final class Placed extends Lease {
        private final int place;

        @SuppressWarnings("deprecation")
        Placed(String key, String owner, long counter, String checkpoint, int place) {
            super(key, owner, counter, null, null, new ExtendedSequenceNumber(checkpoint), null, 0L, null);
            this.place = place;
        }

        @Override
        public int hashCode() {
            return place;
        }
    }

    /** Shuffles nothing: each element stays where it is. */
    private static final class Unmoved extends Random {
        @Override
        public int nextInt(int bound) {
            return bound - 1;
        }
    }

    /** Silences everything, and counts how often a worker could not take a lease that was meant for it: only the log says so. */
    private static final class Refusals extends AppenderBase<ILoggingEvent> {
        private int count;

        Refusals() {
            ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
            Logger decider = (Logger) LoggerFactory.getLogger("software.amazon.kinesis.coordinator.assignment.VarianceBasedLeaseAssignmentDecider");
            decider.setAdditive(false);
            decider.setLevel(Level.INFO);
            decider.addAppender(this);
            start();
        }

        @Override
        protected void append(ILoggingEvent event) {
            if (event.getMessage().startsWith("No worker to assign anymore")) {
                count++;
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Refusals refusals = new Refusals();
        ObjectMapper json = new ObjectMapper();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        PrintStream out = new PrintStream(System.out, true);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode fleet = json.readTree(line);
            TreeSet<String> outcomes = new TreeSet<>();
            boolean drawn = fleet.path("order").isMissingNode();
            Random random = new Random(fleet.path("seed").asLong(1));
            shuffles(drawn ? random : new Unmoved());
            refusals.count = 0;
            for (int run = 0; run < fleet.path("runs").asInt(1); run++) {
                outcomes.add(outcome(fleet, drawn ? random : null, fleet.has("runs") ? random : null));
            }
            ObjectNode answer = json.createObjectNode();
            outcomes.forEach(answer.putArray("java")::add);
            answer.put("refusals", refusals.count);
            out.println(json.writeValueAsString(answer));
        }
        System.exit(0); // its threads would go on
    }

    private static void shuffles(Random random) throws Exception {
        Field field = Collections.class.getDeclaredField("r");
        field.setAccessible(true);
        field.set(null, random);
    }

    private static String outcome(JsonNode fleet, Random leases, Random workers) {
        AtomicReference<LAMDataSnapshot> rows = new AtomicReference<>();
        AtomicReference<Runnable> run = new AtomicReference<>();
        AtomicLong nanos = new AtomicLong(1_000_000_000_000L);
        Map<String, String> owners = Collections.synchronizedMap(new HashMap<>());
        Map<String, String> ways = Collections.synchronizedMap(new HashMap<>());
        LeaseAssignmentManager manager = manager(fleet, rows, run, nanos, owners, ways);
        manager.start();
        rows.set(snapshot(leases(fleet, 1, leases), List.of()));
        run.get().run();
        nanos.addAndGet(LONG_MILLIS * 1_000_000);
        owners.clear();
        ways.clear();
        rows.set(snapshot(leases(fleet, 2, leases), workers(fleet, workers)));
        run.get().run();
        StringBuilder all = new StringBuilder();
        StringBuilder how = new StringBuilder();
        String before = fleet.get("owners").asText();
        for (int i = 0; i < before.length(); i++) {
            all.append(owners.getOrDefault(key(i), before.substring(i, i + 1)));
            how.append(ways.getOrDefault(key(i), "."));
        }
        return all + " " + how;
    }

    private static LeaseAssignmentManager manager(JsonNode fleet, AtomicReference<LAMDataSnapshot> rows, AtomicReference<Runnable> run,
            AtomicLong nanos, Map<String, String> owners, Map<String, String> ways) {
        WorkerUtilizationAwareAssignmentConfig config = new WorkerUtilizationAwareAssignmentConfig()
                .reBalanceThresholdPercentage(fleet.get("threshold").asInt())
                .dampeningPercentage(fleet.get("dampening").asInt())
                .allowThroughputOvershoot(fleet.get("overshoot").asBoolean())
                .workerMetricsEMAAlpha(fleet.get("alpha").asDouble())
                // the run without workers was the first: of two the second does not balance
                .varianceBalancingFrequency(fleet.get("balance").asBoolean() ? 1 : 2);
        if (fleet.hasNonNull("max_kbps")) {
            config.maxThroughputPerHostKBps(fleet.get("max_kbps").asDouble());
        }
        LeaseRefresher refresher = proxy(LeaseRefresher.class, (name, args) -> {
            String key = ((Lease) args[0]).leaseKey();
            owners.put(key, (String) args[1]);
            if (ways.put(key, name.equals("assignLease") ? "a" : name.equals("initiateGracefulLeaseHandoff") ? "h" : "?") != null) {
                throw new IllegalStateException("twice: " + key);
            }
            return true;
        });
        LeaderDecider leader = proxy(LeaderDecider.class, (name, args) -> name.equals("isLeader") ? true : null);
        ScheduledExecutorService executor = proxy(ScheduledExecutorService.class, (name, args) -> {
            run.set((Runnable) args[0]);
            return proxy(ScheduledFuture.class, (future, none) -> null);
        });
        LAMDataManager data = proxy(LAMDataManager.class, (name, args) -> rows.get());
        GracefulLeaseHandoffConfig handoff = GracefulLeaseHandoffConfig.builder()
                .isGracefulLeaseHandoffEnabled(fleet.path("graceful").asBoolean(true)).gracefulLeaseHandoffTimeoutMillis(30_000).build();
        LeaseAssignmentStrategy strategy = fleet.path("count").asBoolean()
                ? LeaseAssignmentStrategy.LEASE_COUNT_BASED : LeaseAssignmentStrategy.WORKER_UTILIZATION_AWARE;
        return new LeaseAssignmentManager(refresher, leader, config, "leader", LEASE_MILLIS, new NullMetricsFactory(), executor, nanos::get,
                fleet.hasNonNull("limit") ? fleet.get("limit").asInt() : Integer.MAX_VALUE, handoff, strategy, 20_000L, null, data);
    }

    private static LAMDataSnapshot snapshot(List<Lease> leases, List<WorkerMetricStats> workers) {
        return LAMDataSnapshot.builder().leases(leases).leaseDeserializationFailures(List.of()).workerMetricStats(workers).build();
    }

    private static String key(int number) {
        return String.format("shardId-%012d", number);
    }

    /** Leases of owners that live have moved from the first look to the second. */
    private static List<Lease> leases(JsonNode fleet, int look, Random random) {
        String owners = fleet.get("owners").asText();
        List<Integer> places = new ArrayList<>();
        for (int i = 0; i < owners.length(); i++) {
            places.add(random == null ? fleet.get("order").get(i).asInt() : i);
        }
        if (random != null) {
            Collections.shuffle(places, random);
        }
        List<Lease> leases = new ArrayList<>();
        for (int i = 0; i < owners.length(); i++) {
            char owner = owners.charAt(i);
            boolean finished = fleet.path("finished").asText().startsWith("s", i);
            long counter = owner == '-' || owner == 'x' ? 1 : look;
            Lease lease = new Placed(key(i), owner == '-' ? null : String.valueOf(owner), counter, finished ? "SHARD_END" : "TRIM_HORIZON",
                    places.get(i));
            JsonNode kbps = fleet.get("kbps").get(i);
            if (!kbps.isNull()) {
                lease.throughputKBps(kbps.asDouble());
            }
            leases.add(lease);
        }
        return leases;
    }

    private static List<WorkerMetricStats> workers(JsonNode fleet, Random random) {
        List<WorkerMetricStats> workers = new ArrayList<>();
        int number = 0;
        for (JsonNode row : fleet.get("workers")) {
            WorkerMetricStats worker = worker(String.valueOf(number++), row);
            // what MigrationAwareLAMDataManager asks of a row
            if (worker.isValidWorkerMetric() && !worker.isExpired(Duration.ofSeconds(60))) {
                workers.add(worker);
            }
        }
        if (random != null) {
            Collections.shuffle(workers, random);
        }
        return workers;
    }

    /** Of each metric its operating range (null: none), then its samples; "age" is that of the row, seconds. */
    private static WorkerMetricStats worker(String name, JsonNode row) {
        Map<String, List<Double>> stats = new LinkedHashMap<>();
        Map<String, List<Long>> ranges = new LinkedHashMap<>();
        row.fields().forEachRemaining(metric -> {
            if (metric.getKey().equals("age")) {
                return;
            }
            List<Double> samples = new ArrayList<>();
            for (int i = 1; i < metric.getValue().size(); i++) {
                samples.add(metric.getValue().get(i).asDouble());
            }
            stats.put(metric.getKey(), samples);
            JsonNode range = metric.getValue().get(0);
            if (!range.isNull()) {
                ranges.put(metric.getKey(), List.of((long) range.asDouble()));
            }
        });
        return WorkerMetricStats.builder().workerId(name).metricStats(stats).operatingRange(ranges)
                .lastUpdateTime(Instant.now().getEpochSecond() - row.path("age").asLong(0)).build();
    }

    private interface Answer {
        Object to(String name, Object[] args);
    }

    @SuppressWarnings("unchecked")
    private static <T> T proxy(Class<T> type, Answer answer) {
        return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> answer.to(method.getName(), args));
    }
}
