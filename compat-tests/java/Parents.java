import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Constructor;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.slf4j.LoggerFactory;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.leases.ShardInfo;
import software.amazon.kinesis.lifecycle.ConsumerTask;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/**
 * Whether KCL 3.5.1's BlockOnParentShardTask lets shard 60 begin, look after look at the leases: one question a line in, an answer a
 * line out.
 *
 * java -cp 'JARS/*' Parents.java
 */
public class Parents {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
        Constructor<?> task = Class.forName("software.amazon.kinesis.lifecycle.BlockOnParentShardTask").getDeclaredConstructors()[0];
        task.setAccessible(true);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        List<String> answers = new ArrayList<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            answers.add(JSON.writeValueAsString(answer(JSON.readTree(line), task)));
        }
        answers.forEach(System.out::println);
    }

    private static ObjectNode answer(JsonNode question, Constructor<?> task) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode free = answer.putArray("free");
        List<String> parents = new ArrayList<>();
        question.get("parents").forEach(parent -> parents.add(name(parent.asText())));
        ShardInfo info = new ShardInfo(name("60"), "token", parents, ExtendedSequenceNumber.TRIM_HORIZON);
        for (JsonNode look : question.get("looks")) {
            Map<String, Lease> rows = new HashMap<>();
            for (JsonNode row : look) {
                Lease lease = new Lease();
                lease.leaseKey(name(row.get(0).asText()));
                lease.checkpoint(new ExtendedSequenceNumber(row.get(1).asText()));
                lease.leaseOwner(row.get(2).isNull() ? null : row.get(2).asText());
                rows.put(lease.leaseKey(), lease);
            }
            Object refresher = Proxy.newProxyInstance(Parents.class.getClassLoader(), new Class<?>[] {LeaseRefresher.class}, (self, method, args) -> {
                if (!method.getName().equals("getLease")) {
                    throw new IllegalStateException(method.getName());
                }
                return rows.get(args[0]);
            });
            free.add(((ConsumerTask) task.newInstance(info, refresher, 0L)).call().getException() == null);
        }
        return answer;
    }

    private static String name(String number) {
        return String.format("shardId-%012d", Long.parseLong(number));
    }
}
