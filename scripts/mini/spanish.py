"""A first Spanish vocabulary, with simple phrases made from it."""

from __future__ import annotations

import re

# A first Spanish vocabulary: feminine nouns, masculine nouns, adjectives (masculine form), places.
UNA = """playa:beach mujer:woman niña:girl chica:girl montaña:mountain casa:house calle:street
ciudad:city bicicleta:bicycle moto:motorcycle mesa:table silla:chair cama:bed flor:flower
pelota:ball comida:food fruta:fruit manzana:apple naranja:orange fresa:strawberry oveja:sheep
vaca:cow cabra:goat mariposa:butterfly abeja:bee araña:spider serpiente:snake rana:frog gata:cat
tortuga:turtle ballena:whale jirafa:giraffe cebra:zebra persona:person familia:family boda:wedding
fiesta:party piscina:swimming_pool cascada:waterfall isla:island nube:cloud luna:moon noche:night
puerta:door ventana:window iglesia:church torre:tower estatua:statue guitarra:guitar camisa:shirt
camiseta:t-shirt falda:skirt chaqueta:jacket gorra:cap cámara:camera computadora:computer taza:cup
botella:bottle cuchara:spoon hoguera:campfire nieve:snow lluvia:rain hierba:grass roca:rock
carretera:road cocina:kitchen granja:farm tienda:shop pizza:pizza tarta:cake ensalada:salad"""
UN = """perro:dog gato:cat hombre:man niño:boy chico:boy bebé:baby caballo:horse pájaro:bird
pez:fish elefante:elephant león:lion tigre:tiger oso:bear mono:monkey conejo:rabbit pato:duck
gallo:rooster cerdo:pig coche:car carro:car autobús:bus tren:train avión:airplane barco:boat
camión:truck árbol:tree bosque:forest río:river lago:lake mar:sea océano:ocean desierto:desert
campo:field jardín:garden parque:park edificio:building puente:bridge castillo:castle sol:sun
cielo:sky atardecer:sunset fuego:fire café:coffee pan:bread queso:cheese vino:wine helado:ice_cream
plátano:banana limón:lemon huevo:egg plato:plate vaso:glass libro:book teléfono:telephone
ordenador:computer reloj:clock sombrero:hat vestido:dress pantalón:pants zapato:shoe abrigo:coat
paraguas:umbrella bolso:handbag piano:piano tambor:drum balón:ball fútbol:soccer partido:game
músico:musician cantante:singer soldado:soldier bombero:firefighter médico:doctor ciclista:cyclist
nadador:swimmer surfista:surfer payaso:clown grupo:group mercado:market restaurante:restaurant
aeropuerto:airport estadio:stadium museo:museum volcán:volcano glaciar:glacier tejado:roof"""
ADJECTIVES = """negro:black blanco:white rojo:red amarillo:yellow marrón:brown verde:green
azul:blue gris:gray pequeño:small grande:big viejo:old mojado:wet joven:young bonito:beautiful"""
PLACES = """en la playa:on the beach;en la nieve:in the snow;en el agua:in the water;
en la calle:in the street;en el parque:in the park;en la hierba:in the grass;en la montaña:in the
mountains;en la ciudad:in the city;con una pelota:with a ball;en la cama:on a bed;en el mar:in the
sea;corriendo:running;durmiendo:sleeping;saltando:jumping;jugando:playing;comiendo:eating"""


def vocabulary_phrases() -> dict[str, str]:
    """Spanish phrases made from the small vocabulary, with their English meaning."""
    pairs = lambda text: [entry.strip().split(":") for entry in text]  # noqa: E731
    adjectives = pairs(ADJECTIVES.split())
    places = pairs(" ".join(PLACES.split()).split(";"))
    found: dict[str, str] = {}
    for article, nouns in (("una", pairs(UNA.split())), ("un", pairs(UN.split()))):
        for spanish, raw in nouns:
            english = raw.replace("_", " ")
            a = "an" if english[0] in "aeiou" else "a"
            found[spanish] = found[f"{article} {spanish}"] = english
            found[f"una foto de {article} {spanish}"] = english
            for word, meaning in adjectives:
                ended = re.sub("o$", "a", word) if article == "una" else word
                found[f"{article} {spanish} {ended}"] = f"a {meaning} {english}"
            for place, meaning in places:
                found[f"{article} {spanish} {place}"] = f"{a} {english} {meaning}"
    return found
